"""What every page for people has in common: who may see it, their clock, and how refusals are told."""

import zoneinfo
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere
from reminders.services.todos import zone_of

View = Callable[..., HttpResponse]
LOGIN = reverse_lazy("pages:login")


def page(view: View) -> View:
    """For whoever is logged in; never stored by a browser; times in the person's zone; refusals as pages."""

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with timezone.override(_clock(request.user)):
            try:
                return _told(request, view(request, *args, **kwargs))
            except (NotHere, Http404):
                return refusal(request, 404, "Nothing here", "There is no such page, or it is not yours to see.")
            except PermissionDenied:
                return refusal(request, 403, "Not allowed", "You may see this, and may not change it.")

    return never_cache(login_required(shown, login_url=LOGIN))


def _told(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """An address that takes what a button sends, opened as a page: after a login, or from the browser's history."""
    if response.status_code != 405 or request.method not in ("GET", "HEAD"):
        return response
    text = "This address takes what a button sends, and is no page. If you pressed one, go back and press it once more."
    told = refusal(request, 405, "Nothing was done", text)
    told["Allow"] = response["Allow"]
    return told


def _clock(user: Any) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(zone_of(user)) if user.is_authenticated else zoneinfo.ZoneInfo("UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # the tz database has dropped it
        return zoneinfo.ZoneInfo("UTC")


def actor_of(request: HttpRequest) -> Actor:
    return Actor.of_user(request.user, via="page")


def zone_name() -> str:
    """Of the person whose page it is."""
    return timezone.get_current_timezone_name()


def refusal(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    return render(request, "reminders/pages/refusal.html", {"title": title, "text": text}, status=status)


def back(request: HttpRequest, to: Any, *args: Any) -> HttpResponse:
    """To the page of ours that the form names as `next`; else to the given one."""
    wanted = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) and wanted.startswith("/"):
        return redirect(wanted)
    return redirect(to, *args)
