"""Lists of one's own tasks: open ones by when they are due, and those that are done."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from jobs.operators.lookups import LARGEST_ID
from reminders import clocks, moment
from reminders.services import agenda
from reminders.services.agenda import Section, Wanted
from reminders.web.frame import page, zone_name
from reminders.web.todo_forms import QuickForm
from reminders.wording import day_words

LONGEST_TEXT = 200


@page
@require_safe
def todos(request: HttpRequest) -> HttpResponse:
    """All sections, each with its beginning; or one of them, with pages."""
    return list_page(request, QuickForm(initial={"key": uuid.uuid4()}))


def list_page(request: HttpRequest, quick: QuickForm, status: int = 200) -> HttpResponse:
    """The page with the quick line as it was filled in."""
    name = request.GET.get("when", "")
    if name and name not in agenda.SECTIONS:
        raise Http404
    zone, wanted = zone_name(), read_wanted(request.GET)
    found = None
    if name:
        sections = agenda.counts(request.user, zone, wanted)
        found = agenda.open_page(request.user, zone, wanted, name, read_number(request.GET.get("page", "")))
        shown = [Section(name, found.count, found.todos)]
    else:
        shown = sections = agenda.open_sections(request.user, zone, wanted)
    context = {
        **_frame(request, wanted, found, "todos"),
        "quick": quick,
        "sections": sections,
        "total": sum(section.count for section in sections),
        "when": name,
        "shown": [(section, _groups(section, zone)) for section in shown],
        "tags": agenda.tags_of(request.user),
    }
    return render(request, "reminders/pages/todos.html", context, status=status)


@page
@require_safe
def done(request: HttpRequest) -> HttpResponse:
    wanted = read_wanted(request.GET)
    found = agenda.done_page(request.user, wanted, read_number(request.GET.get("page", "")))
    context = {**_frame(request, wanted, found, "done"), "todos": found.todos}
    return render(request, "reminders/pages/done.html", context)


def _frame(request: HttpRequest, wanted: Wanted, found: agenda.Page | None, here: str) -> dict[str, Any]:
    """What both lists show around their tasks. query: what a link to another section keeps.

    list: where such links lead; the page may be the answer to a quick line that was refused, at an address of its own.
    """
    kept = {"whose": wanted.whose, "project": wanted.project or "", "tag": wanted.tag, "q": wanted.text}
    query = urlencode({name: value for name, value in kept.items() if value and value != "mine"})
    return {
        "here": here,
        "list": reverse(f"pages:{here}"),
        "clock": zone_name(),
        "now": moment.now(),
        "wanted": wanted,
        "whose": agenda.WHOSE,
        "projects": list(agenda.projects_of(request.user)),
        "query": query,
        "found": found,
        "path": request.get_full_path() if request.method == "GET" else reverse("pages:todos"),
    }


def _groups(section: Section, zone: str) -> list[tuple[str, list[Any]]]:
    """Of what is upcoming, days; of the rest, one group without a heading."""
    if section.name != "upcoming":
        return [("", section.todos)]
    today = clocks.local(moment.now(), zone).date()
    return [(day_words(day, today), todos) for day, todos in agenda.by_day(section.todos, zone).items()]


def read_wanted(query: Mapping[str, str]) -> Wanted:
    """What cannot be meant is passed over, except a project that there is not, which has no tasks."""
    whose = query.get("whose", "")
    project = query.get("project", "")
    number = int(project) if project.isascii() and project.isdecimal() and len(project) < 20 else 0
    return Wanted(
        whose=whose if whose in agenda.WHOSE else "mine",
        project=number if 0 < number <= LARGEST_ID else None,
        tag=query.get("tag", "").strip()[:LONGEST_TEXT],
        text=query.get("q", "").strip()[:LONGEST_TEXT],
    )


def read_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
