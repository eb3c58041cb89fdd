"""/files/: uploads from pages, downloads and thumbnails, for whoever is logged in."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse_lazy
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_POST

from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere
from reminders.files import receiving
from reminders.files.receiving import QuarantineHandler, Received
from reminders.files.refusals import FileRefused
from reminders.files.storing import StorageAway
from reminders.operators import access
from reminders.operators import attachments as operators
from reminders.services.attachments import NotServed
from reminders.web.giving import given_out, shown_thumbnail

LOGIN = reverse_lazy("pages:login")


@require_GET
@login_required(login_url=LOGIN)
def content(request: HttpRequest, attachment_id: int) -> HttpResponseBase:
    """The content as a download."""
    return _given(lambda actor: given_out(*operators.content(actor, attachment_id)), request)


@require_GET
@login_required(login_url=LOGIN)
def thumbnail(request: HttpRequest, attachment_id: int) -> HttpResponseBase:
    return _given(lambda actor: shown_thumbnail(*operators.thumbnail(actor, attachment_id)), request)


def _given(give: Any, request: HttpRequest) -> HttpResponseBase:
    try:
        found: HttpResponseBase = give(actor_of(request))
    except NotHere:
        raise Http404 from None
    except NotServed as exc:
        return _plain(403 if exc.state in ("infected", "not_scanned") else 409, str(exc))
    except StorageAway:
        return _plain(503, "the storage of files does not answer; try again in a while")
    return found


@csrf_exempt
@require_POST
@login_required(login_url=LOGIN)
def upload(request: HttpRequest, todo_id: int) -> HttpResponseBase:
    """The only file of a form, for a task; then back to the page that its `next` names.

    The token is looked for in the form, so the form is read for that already: into quarantine, and not by Django's own
    handlers, which know no limit. Who may not add files is turned away before anything is read.
    """
    try:
        access.require_todo(actor_of(request), todo_id, "change")
    except NotHere:
        raise Http404 from None
    handler = QuarantineHandler(request)
    try:
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
        if announced > receiving.most_bytes() + receiving.FORM_BYTES:
            raise receiving.too_large(announced)
        request.upload_handlers = [handler]
        response: HttpResponseBase = _checked_upload(request, todo_id, handler)
    except FileRefused as exc:
        receiving.read_away(request)
        # The form was not read to its end, so its `next` is not known.
        return _told_on_page(request, exc) or _plain(exc.status, str(exc))
    finally:
        handler.drop()
    return response


def _told_on_page(request: HttpRequest, exc: FileRefused) -> HttpResponse | None:
    """Back to the page of ours that the form was on; None where it is not known."""
    page = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure()):
        return None
    messages.error(request, f"The file was not attached: {exc}.")
    return HttpResponseRedirect(page)


@csrf_protect
def _checked_upload(request: HttpRequest, todo_id: int, handler: QuarantineHandler) -> HttpResponseBase:
    back = _back(request)
    try:
        file = handler.only_file()
        row = operators.add(actor_of(request), todo_id, Received(file.path, file.name, file.size, file.sha256))
    except FileRefused as exc:
        if not back:
            raise
        messages.error(request, f"The file was not attached: {exc}.")
    except NotHere:
        raise Http404 from None
    else:
        messages.success(request, f"{row.name} is attached.")
    return HttpResponseRedirect(back or "/")


@require_POST
@login_required(login_url=LOGIN)
def delete(request: HttpRequest, attachment_id: int) -> HttpResponseBase:
    """Take a file from its task; then back to the page that `next` names."""
    try:
        operators.delete(actor_of(request), attachment_id)
    except NotHere:
        raise Http404 from None
    messages.success(request, "The file was taken from the task.")
    return HttpResponseRedirect(_back(request) or "/")


def actor_of(request: HttpRequest) -> Actor:
    if not request.user.is_active:
        raise PermissionDenied
    return Actor.of_user(request.user, "page")


def _back(request: HttpRequest) -> str:
    """A page of ours that the form names; empty for any other."""
    wanted = str(request.POST.get("next", ""))
    is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None, require_https=request.is_secure())
    return wanted if is_ours else ""


def _plain(status: int, text: str) -> HttpResponse:
    response = HttpResponse(f"{text[:1].upper()}{text[1:]}.\n", status=status, content_type="text/plain; charset=utf-8")
    response["X-Content-Type-Options"] = "nosniff"
    return response
