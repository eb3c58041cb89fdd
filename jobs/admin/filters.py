"""Filters with fixed choices, or typed times: none asks the table what values it holds."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from unfold.contrib.filters.admin import DropdownFilter

from jobs.lanes import QUEUES
from jobs.models import Job, State, Worker
from jobs.models.job import UNFINISHED
from jobs.operators.search import NEWEST, is_storable, newest
from jobs.registry import registered_tasks

PERIODS = {
    "1h": ("last hour", timedelta(hours=1)),
    "24h": ("last 24 hours", timedelta(hours=24)),
    "7d": ("last 7 days", timedelta(days=7)),
}


def note(request: HttpRequest, text: str) -> None:
    """Say above the list what it leaves out."""
    notes = getattr(request, "list_notes", [])
    request.list_notes = [*notes, text] if text not in notes else notes  # type: ignore[attr-defined]


def bounded(request: HttpRequest, jobs: QuerySet[Job]) -> QuerySet[Job]:
    """Look only at the newest jobs, unless only unfinished ones are wanted, which an index serves."""
    if request.GET.get("state") in ("unfinished", *UNFINISHED):
        return jobs
    note(request, f"This filter looks at the newest {NEWEST:,} jobs, or at all that are unfinished.")
    return newest(jobs)


class FixedFilter(DropdownFilter):
    """Its value is one of its choices, or nothing is found. values: the choices, where they need no other words."""

    values: ClassVar[Sequence[str]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(value)) for value in self.values]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        if value not in {key for key, _ in self.lookup_choices} or not is_storable(value):
            return queryset.none()
        return self.narrow(request, queryset, value)

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): value})


class StateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unfinished", "unfinished"), *((state.value, state.value) for state in State)]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(state__in=UNFINISHED) if value == "unfinished" else queryset.filter(state=value)


class QueueFilter(FixedFilter):
    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in QUEUES]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return bounded(request, queryset).filter(queue=value)


class TaskFilter(FixedFilter):
    title = "task"
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(task.name, task.name) for task in registered_tasks()]


class WorkerFilter(FixedFilter):
    title = "worker"
    parameter_name = "worker"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = list(Worker.objects.order_by("-heartbeat_at").values_list("name", flat=True)[:50])
        given = request.GET.get("worker")
        return [(name, name) for name in dict.fromkeys([*sorted(names), *([given] if given else [])])]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return bounded(request, queryset).filter(worker=value)


class ScheduleFilter(FixedFilter):
    """Set by links from schedules; there may be thousands of them, so none is offered here."""

    title = "schedule"
    parameter_name = "schedule"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get("schedule")
        return [(given, given)] if given else []

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return bounded(request, queryset).filter(origin="schedule", origin_detail=value)


class FinishedFilter(FixedFilter):
    title = "finished"
    parameter_name = "finished"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, text) for key, (text, _) in PERIODS.items()]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if request.GET.get("state") not in (State.FAILED, State.CANCELLED, State.DISCARDED):
            queryset = bounded(request, queryset)
        return queryset.filter(finished_at__gte=timezone.now() - PERIODS[value][1])


class CreatedFilter(SimpleListFilter):
    """Between two typed times, in the site's time zone; either may be left out."""

    title = "created"
    parameter_name = "created_after"
    until_name = "created_before"
    template = "jobs/filter_created.html"
    field = "created_at"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        until = params.pop(self.until_name, [""])
        super().__init__(request, params, model, model_admin)
        if until and until[-1]:
            self.used_parameters[self.until_name] = until[-1]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("given", "given")]

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter_name, self.until_name]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for name, lookup in ((self.parameter_name, "gte"), (self.until_name, "lt")):
            text = str(self.used_parameters.get(name) or "")
            moment = typed_time(text)
            if moment is not None:
                queryset = queryset.filter(**{f"{self.field}__{lookup}": moment})
            elif text:
                messages.warning(request, f"{name} {text!r} is not a time; write it like 2026-03-09T14:30")
        return queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        yield {
            "selected": bool(self.used_parameters),
            "display": self.title,
            "fields": [
                (name, label, typed_text(str(self.used_parameters.get(name) or "")))
                for name, label in ((self.parameter_name, "From"), (self.until_name, "Before"))
            ],
        }


class AuditTimeFilter(CreatedFilter):
    title = "time"
    field = "at"
    parameter_name = "after"
    until_name = "before"


class ResultTimeFilter(CreatedFilter):
    title = "done"
    field = "date_done"
    parameter_name = "done_after"
    until_name = "done_before"


def typed_time(text: str) -> datetime | None:
    """An ISO time, in the site's zone if it names none; None if it is not one."""
    try:
        moment = parse_datetime(text)
        if moment is None:
            return None
        moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
        # At the ends of the calendar, another time zone's year is one that Python does not have.
        return moment if 1 < moment.year < 9999 else None
    except (ValueError, OverflowError):
        return None


def typed_text(text: str) -> str:
    """As a browser's time field wants it; what cannot be read is left out."""
    moment = typed_time(text)
    return f"{timezone.localtime(moment):%Y-%m-%dT%H:%M}" if moment else ""
