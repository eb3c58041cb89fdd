"""/metrics: who may read it, and what is answered while Postgres is away."""

import hmac
import logging
from collections.abc import Callable

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from prometheus_client.exposition import choose_encoder

from jobs.api.authentication import FailedTokenThrottle
from jobs.operators import tokens
from jobs.postgres.limits import answers_within
from jobs.watch.metrics import registry

logger = logging.getLogger(__name__)

PERMISSION = "jobs.view_metrics"
#: A scrape waits no longer than this for any answer of Postgres; Prometheus gives up after ten seconds.
ANSWER_SECONDS = 3.0
_AWAY = "The database does not answer."
_WHO = f"Send a token: METRICS_TOKEN, or one of a user with {PERMISSION}, as: Authorization: Bearer TOKEN"


class MetricsMiddleware:
    """Answers before the check of the host name and the redirect to HTTPS: a scraper knows an address, not a name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info not in {"/metrics", "/metrics/"}:
            return self.get_response(request)
        response = _answer(request)
        response["Cache-Control"] = "no-store"
        return response


def _answer(request: HttpRequest) -> HttpResponse:
    if request.method not in {"GET", "HEAD"}:
        return _text(405, "Only GET.", Allow="GET, HEAD")
    try:
        with answers_within(ANSWER_SECONDS):
            refusal = _refusal(request)
            if refusal is not None:
                return refusal
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
            return HttpResponse(encode(registry()), content_type=content_type)
    except (OperationalError, InterfaceError) as exc:
        logger.warning("A scrape found Postgres away: %s", " ".join(str(exc).split())[:200])
        connection.close()
        return _text(503, _AWAY, **{"Retry-After": "5"})


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """None for whoever may read. Loopback is no proof of anything: a proxy on this machine calls from there too."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    given = given.strip()
    if scheme.lower() != "bearer" or not given:
        return _text(401, _WHO, **{"WWW-Authenticate": 'Bearer realm="Switchyard"'})
    own = settings.METRICS_TOKEN
    if own and hmac.compare_digest(own.encode(), given.encode("utf-8", "replace")):
        return None
    token = tokens.authenticate(given)
    if token is not None:
        return None if token.user.has_perm(PERMISSION) else _text(403, f"The token's user lacks {PERMISSION}.")
    if not FailedTokenThrottle().allow_request(request, None):  # type: ignore[arg-type]
        return _text(429, "Too many refused tokens from this address.", **{"Retry-After": "60"})
    return _text(401, "The token is unknown, expired or revoked.", **{"WWW-Authenticate": 'Bearer realm="Switchyard"'})


def _text(status: int, text: str, **headers: str) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8", headers=headers)
