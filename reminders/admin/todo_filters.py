"""By what the list of tasks is narrowed."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.admin.filters import CreatedFilter, FixedFilter
from reminders import clocks, moment
from reminders.admin.common import GivenFilter, PersonFilter
from reminders.models import Project
from reminders.operators import todos as operators
from reminders.operators.todo_values import PRIORITY_WORDS
from reminders.services.planning import default_preferences


class TodoStateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        plain = [("open", "open"), ("overdue", "overdue"), ("today", "due today"), ("done", "done")]
        return [*plain, ("cancelled", "given up")]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value in operators.STATES:
            return queryset.filter(operators.in_state(value))
        now = moment.now()
        if value == "overdue":
            return queryset.filter(done_at=None, due_at__lte=now)
        zone = default_preferences(None).time_zone
        ends = clocks.end_of_day(clocks.local(now, zone).date(), zone)
        return queryset.filter(done_at=None, due_at__gt=now, due_at__lte=ends)


class ProjectFilter(GivenFilter):
    title = "project"
    parameter_name = "project"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = list(Project.objects.filter(archived_at=None).order_by("name").values_list("name", flat=True)[:100])
        return [
            *((name, name) for name in names),
            *(x for x in super().lookups(request, model_admin) if x[0] not in names),
        ]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(project__name=value)


class AssigneeFilter(PersonFilter):
    title = "assignee"
    parameter_name = "assignee"
    column = "assignees"


class PriorityFilter(FixedFilter):
    title = "priority"
    parameter_name = "priority"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, word) for word in PRIORITY_WORDS]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(priority=PRIORITY_WORDS.index(value))


class DueFilter(CreatedFilter):
    title = "due"
    field = "due_at"
    parameter_name = "due_after"
    until_name = "due_before"
