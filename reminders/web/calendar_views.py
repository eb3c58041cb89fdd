"""The feed that calendar programs read: whoever knows its address is its person."""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.http import parse_etags
from django.views.decorators.csrf import csrf_exempt

from jobs.rates import CountedTogether
from reminders.services import calendars, feeds

_METHODS = ("GET", "HEAD")
HEADERS = {"Cache-Control": "private, no-cache", "X-Robots-Tag": "noindex", "Referrer-Policy": "no-referrer"}


class _Throttle(CountedTogether):
    """Programs ask every few minutes at most. Counted by address and secret, so that one is not held up by another."""

    rate = "30/min"
    scope = "calendar_feed"

    def get_cache_key(self, request: Any, view: Any) -> str:
        return f"calendar_feed:{view}"


class _UnknownThrottle(_Throttle):
    """Whoever tries secrets out, by address."""

    rate = "60/min"

    def get_cache_key(self, request: Any, view: Any) -> str:
        return f"calendar_feed_unknown:{self.get_ident(request)}"


@csrf_exempt
def feed(request: HttpRequest, secret: str) -> HttpResponse:
    """A person's tasks. 304 while nothing has changed, which takes no more than a look at the versions of its rows."""
    if request.method not in _METHODS:
        return _silent(405, {"Allow": ", ".join(_METHODS)})
    digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
    throttle = _Throttle()
    if not throttle.allow_request(request, digest):  # type: ignore[arg-type]
        return _silent(429, {"Retry-After": str(int(throttle.wait() or 60) + 1)})
    found = feeds.find(secret)
    if found is None:
        unknown = _UnknownThrottle()
        if not unknown.allow_request(request, None):  # type: ignore[arg-type]
            return _silent(429, {"Retry-After": str(int(unknown.wait() or 60) + 1)})
        return _silent(404)
    feeds.note_read(found)
    etag = f'"{calendars.state_of(found.user)}"'
    headers = {**HEADERS, "ETag": etag}
    if _is_known(request.headers.get("If-None-Match", ""), etag):
        return HttpResponse(status=304, headers=headers)
    kind = "text/calendar; charset=utf-8"
    headers["Content-Disposition"] = 'inline; filename="tasks.ics"'
    return HttpResponse(calendars.calendar_of(found.user), content_type=kind, headers=headers)


def _is_known(asked: str, etag: str) -> bool:
    """If-None-Match compares weakly (RFC 9110, 13.1.2); a proxy that compresses may have weakened ours."""
    known = {tag.removeprefix("W/") for tag in parse_etags(asked)}
    return "*" in known or etag in known


def _silent(status: int, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """An answer that no log line repeats, as its path may be a secret."""
    words = {
        404: "There is no such calendar.",
        405: "A calendar is read, and not written.",
        429: "Too many requests; ask again later.",
    }
    response = HttpResponse(
        words[status], status=status, content_type="text/plain", headers={**HEADERS, **(headers or {})}
    )
    response._has_been_logged = True  # type: ignore[attr-defined]  # django.utils.log.log_response
    return response
