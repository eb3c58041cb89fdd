"""Slows down the guessing of passwords at the admin's login.

Failures are counted in Django's cache for each address and for each address and name, so that a guesser does not
lock out the person guessed at from elsewhere. With the default cache, each web process counts for itself.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from rest_framework.throttling import BaseThrottle

WINDOW_SECONDS = 15 * 60
FAILURES_OF_A_NAME = 10
FAILURES_OF_AN_ADDRESS = 50


class LoginLimit:
    """Middleware: 429 instead of looking at a password, after too many wrong ones."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        user_login_failed.connect(_count, dispatch_uid="login_limit_count")
        user_logged_in.connect(_forget, dispatch_uid="login_limit_forget")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path == reverse("admin:login"):
            by_name, by_address = _keys(request, request.POST.get("username", ""))
            if cache.get(by_name, 0) >= FAILURES_OF_A_NAME or cache.get(by_address, 0) >= FAILURES_OF_AN_ADDRESS:
                return HttpResponse(
                    f"Too many failed logins. Try again in {WINDOW_SECONDS // 60} minutes.",
                    status=429,
                    content_type="text/plain",
                    headers={"Retry-After": str(WINDOW_SECONDS)},
                )
        return self.get_response(request)


def _keys(request: HttpRequest, name: str) -> tuple[str, str]:
    # DRF knows which address to believe behind a proxy (NUM_PROXIES).
    address = BaseThrottle().get_ident(request) or ""  # type: ignore[arg-type]
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in (f"{address}\0{name}", address)]
    return f"login-failed-name-{digests[0]}", f"login-failed-address-{digests[1]}"


def _count(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    if request is None:
        return
    for key in _keys(request, str(credentials.get("username", ""))):
        cache.add(key, 0, WINDOW_SECONDS)
        try:
            cache.incr(key)
        except ValueError:  # it expired between the two
            cache.set(key, 1, WINDOW_SECONDS)


def _forget(request: HttpRequest | None = None, user: Any = None, **_: Any) -> None:
    if request is not None and user is not None:
        cache.delete(_keys(request, user.get_username())[0])
