"""Calendar files in and out, on the page of preferences."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST, require_safe

from reminders.calendar.items import CalendarProblem, CalendarRefused
from reminders.calendar.lines import MAX_BYTES
from reminders.files.receiving import FORM_BYTES, read_away
from reminders.operators import calendars
from reminders.services.calendars import Imported
from reminders.web.frame import actor_of, page

#: Of what was not taken, so many are shown.
SHOWN = 200


@csrf_exempt
@page
@require_POST
def take_in(request: HttpRequest) -> HttpResponse:
    """The file of a form. Its token is in the form, too, which is read once its length is known to be allowed."""
    announced = int(request.META.get("CONTENT_LENGTH") or 0)
    if announced > MAX_BYTES + FORM_BYTES:
        read_away(request)
        most = f"{MAX_BYTES:,} bytes are the most of a calendar"
        messages.error(request, f"Nothing was taken: {announced:,} bytes came, and {most}; import it in parts.")
        return _to_calendar()
    return _take_in(request)


@csrf_protect
def _take_in(request: HttpRequest) -> HttpResponse:
    files = request.FILES.getlist("calendar")
    if len(files) != 1:
        messages.error(request, "Nothing was taken: choose one .ics file.")
        return _to_calendar()
    try:
        result = calendars.import_calendar(actor_of(request), request.user, files[0].read())
    except CalendarRefused as exc:
        messages.error(request, f"Nothing was taken: {exc}.")
        return _to_calendar()
    _tell(request, result)
    if not result.errors:
        return _to_calendar()
    context = {"problems": [_row(one) for one in result.errors[:SHOWN]], "more": max(0, len(result.errors) - SHOWN)}
    return render(request, "reminders/pages/imported.html", {"here": "preferences", **context})


def _tell(request: HttpRequest, result: Imported) -> None:
    counts = (("added", result.created), ("changed", result.updated), ("unchanged", result.unchanged))
    told = ", ".join(f"{len(numbers)} {word}" for word, numbers in counts)
    messages.success(request, f"Of the file’s tasks: {told}.")


def _row(problem: CalendarProblem) -> dict[str, str]:
    return {
        "name": problem.summary or problem.uid or "The file",
        "where": f"line {problem.line}" if problem.line else "",
        "what": problem.what,
        "remedy": problem.remedy,
        "state": "Taken without that" if problem.imported else "Not taken",
    }


@page
@require_safe
def give_out(request: HttpRequest) -> HttpResponse:
    """One's open tasks, and those closed in the last 30 days, as a download."""
    text = calendars.export_calendar(actor_of(request), request.user)
    headers = {"Content-Disposition": 'attachment; filename="tasks.ics"'}
    return HttpResponse(text, content_type="text/calendar; charset=utf-8", headers=headers)


def _to_calendar() -> HttpResponse:
    return redirect(f"{reverse('pages:preferences')}#feed")
