"""GitHub's webhook: the signature is checked over the raw bytes before anything is read from them."""

import logging
import re
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from gidgethub import ValidationFailure
from gidgethub.sansio import validate_event

from jobs.api.problems import MEDIA_TYPE, problem
from reviews.github import access
from reviews.models import GitHubAccess
from reviews.services import deliveries
from reviews.services.payloads import PayloadRefused, parse_payload

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 25 * 1024 * 1024
MAX_DRAINED_BYTES = 100 * 1024 * 1024
CONTENT_TYPES = ("application/json", "application/x-www-form-urlencoded")
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_HEADER_VALUE = re.compile(r"[!-~]{1,64}")


class _Refused(Exception):
    """Answered with a problem document."""

    def __init__(self, status: int, word: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.word, self.detail, self.headers = status, word, detail, headers


@csrf_exempt
def github_webhook(request: HttpRequest) -> HttpResponse:
    """Take in one delivery. 202: stored, job or no job; 200: a ping, or stored before; 4xx, 503: not stored."""
    try:
        body, signed_for = _authentic_body(request)
        guid, event = _header(request, "X-GitHub-Delivery"), _header(request, "X-GitHub-Event")
        payload = parse_payload(body, request.content_type or "")
        received = deliveries.receive(guid, event, payload, len(body), signed_for)
    except _Refused as exc:
        return _problem(request, exc)
    except PayloadRefused as exc:
        return _problem(request, _Refused(400, "payload-refused", str(exc)))
    except (OperationalError, InterfaceError):
        logger.exception("A delivery of GitHub could not be stored")
        detail = "the delivery was not stored, because the database does not answer; send it again"
        return _problem(request, _Refused(503, "database-away", detail, **{"Retry-After": "30"}))
    delivery = received.delivery
    answer: dict[str, Any] = {"delivery": delivery.guid, "outcome": delivery.outcome, "job": delivery.job_id or None}
    if received.repeated:
        answer["repeated"] = True
    return JsonResponse(answer, status=200 if received.repeated or event == "ping" else 202)


def _authentic_body(request: HttpRequest) -> tuple[bytes, GitHubAccess | None]:
    """The raw body, of a size and kind that is taken, with a signature that fits, and whose. Raises _Refused."""
    if request.method != "POST":
        raise _Refused(405, "method-not-allowed", "GitHub's deliveries come by POST", Allow="POST")
    secrets = access.webhook_secrets()
    if not secrets:
        detail = "no webhook secret is set; set GITHUB_WEBHOOK_SECRET, or that of an access, to what GitHub has"
        raise _Refused(503, "webhook-not-configured", detail)
    if request.content_type not in CONTENT_TYPES:
        detail = f"content type {request.content_type!r:.100}; expected {' or '.join(CONTENT_TYPES)}"
        raise _Refused(415, "unsupported-media-type", detail)
    body = _body(request)
    signature = request.headers.get("X-Hub-Signature-256", "")
    # gidgethub would also take SHA-1, and compares only what is ASCII.
    if not _SIGNATURE.fullmatch(signature):
        detail = "the header X-Hub-Signature-256 must be sha256= and 64 hexadecimal digits; set a secret at GitHub"
        raise _Refused(401, "signature-missing", detail)
    # All of them are tried, so that the time taken does not tell which one fits.
    fitting = [whose for whose, secret in secrets if _fits(body, signature, secret)]
    if not fitting:
        detail = "the signature does not fit the body; is the secret at GitHub the same as here?"
        raise _Refused(401, "signature-wrong", detail)
    return body, _whose(fitting, request.headers.get("X-GitHub-Hook-Installation-Target-ID", ""))


def _fits(body: bytes, signature: str, secret: str) -> bool:
    try:
        validate_event(body, signature=signature, secret=secret)
    except ValidationFailure:
        return False
    return True


def _whose(fitting: list[GitHubAccess | None], app_id: str) -> GitHubAccess | None:
    """Whose secret it is. Several may have the same: then the App that GitHub names, and the environment's last."""
    accesses = [found for found in fitting if found is not None]
    named = [found for found in accesses if app_id and str(found.app_id) == app_id]
    return next(iter(named or accesses), None)


def _body(request: HttpRequest) -> bytes:
    too_large = _Refused(413, "payload-too-large", f"payloads of up to {MAX_BODY_BYTES:,} bytes are taken")
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        if length > MAX_BODY_BYTES:
            _throw_away(request, length)
            raise too_large
        body = request.body
    except RequestDataTooBig:
        raise too_large from None
    except (UnreadablePostError, ValueError):
        raise _Refused(400, "body-unreadable", "the body did not arrive whole") from None
    if len(body) > MAX_BODY_BYTES:
        raise too_large
    return body


def _throw_away(request: HttpRequest, length: int) -> None:
    """Read what is not wanted: a sender that is cut off while it sends does not see the answer."""
    if length <= MAX_DRAINED_BYTES:
        while request.read(1 << 20):
            pass


def _header(request: HttpRequest, name: str) -> str:
    value = request.headers.get(name, "")
    if not _HEADER_VALUE.fullmatch(value):
        detail = f"the header {name} must have 1 to 64 visible ASCII characters"
        raise _Refused(400, "header-missing", detail)
    return value


def _problem(request: HttpRequest, refused: _Refused) -> HttpResponse:
    body = problem(refused.status, refused.word, refused.detail, request.path)
    return JsonResponse(body, status=refused.status, content_type=MEDIA_TYPE, headers=refused.headers)
