"""Slows down the guessing of passwords at the pages that LOGIN_PAGES names.

Failures are counted for each address and for each address and name, so that a guesser does not lock out the person
guessed at from elsewhere.
"""

import math
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.forms import UsernameField
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from rest_framework.throttling import BaseThrottle

from jobs.rates import Rate

WINDOW_SECONDS = 15 * 60
OF_A_NAME = Rate("login-failed-name", 10, WINDOW_SECONDS)
OF_AN_ADDRESS = Rate("login-failed-address", 50, WINDOW_SECONDS)


class LoginLimit:
    """Middleware: 429 instead of looking at a password, after too many wrong ones."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        user_login_failed.connect(_count, dispatch_uid="login_limit_count")
        user_logged_in.connect(_forget, dispatch_uid="login_limit_forget")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path in [reverse(name) for name in settings.LOGIN_PAGES]:
            address, by_name = _who(request, _as_the_form_reads(request.POST.get("username", "")))
            wait = math.ceil(max(OF_A_NAME.wait(by_name), OF_AN_ADDRESS.wait(address)))
            if wait:
                minutes = math.ceil(wait / 60)
                return HttpResponse(
                    f"Too many failed logins. Try again in {minutes} minute{'' if minutes == 1 else 's'}.",
                    status=429,
                    content_type="text/plain",
                    headers={"Retry-After": str(wait)},
                )
        return self.get_response(request)


def _as_the_form_reads(name: str) -> str:
    """What the login form makes of it, and looks up: " ａnna" is anna."""
    column: Any = get_user_model()._meta.get_field(get_user_model().USERNAME_FIELD)
    return str(UsernameField(max_length=column.max_length or 254).to_python(name))


def _who(request: HttpRequest, name: str) -> tuple[str, str]:
    """The address, and the address with the name."""
    # DRF knows which address to believe behind a proxy (NUM_PROXIES).
    address = BaseThrottle().get_ident(request) or ""  # type: ignore[arg-type]
    return address, f"{address}\0{name}"


def _count(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    if request is not None:
        address, by_name = _who(request, str(credentials.get("username", "")))
        OF_A_NAME.count(by_name)
        OF_AN_ADDRESS.count(address)


def _forget(request: HttpRequest | None = None, user: Any = None, **_: Any) -> None:
    if request is not None and user is not None:
        OF_A_NAME.forget(_who(request, user.get_username())[1])
