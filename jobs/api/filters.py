"""The parameters by which jobs are filtered."""

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from jobs.api.rows import TimeFilter
from jobs.lanes import QUEUES
from jobs.models import Job, State
from jobs.operators.search import MAX_TEXT, search_jobs


class JobFilter(filters.FilterSet):
    """An unknown state or queue, or a time that is none, is refused rather than finding nothing."""

    state = filters.MultipleChoiceFilter(
        choices=State.choices,
        help_text="May be given several times.",
        error_messages={"invalid_choice": f"unknown state %(value)r; choose from: {', '.join(State.values)}"},
    )
    task = filters.CharFilter(max_length=255, help_text="The exact name.")
    queue = filters.ChoiceFilter(
        choices=[(name, name) for name in QUEUES],
        error_messages={"invalid_choice": f"unknown queue %(value)r; choose from: {', '.join(QUEUES)}"},
    )
    worker = filters.CharFilter(max_length=255, help_text="The exact name of the worker that ran it last.")
    search = filters.CharFilter(
        method="by_search",
        max_length=MAX_TEXT,
        help_text="The beginning of an id; a task; or an argument (`key:value` for a named one), the last among the "
        "newest 100,000 jobs.",
    )
    created_after = TimeFilter(field_name="created_at", lookup_expr="gte", help_text="ISO 8601.")
    created_before = TimeFilter(field_name="created_at", lookup_expr="lt", help_text="ISO 8601.")

    class Meta:
        model = Job
        fields: list[str] = []

    def by_search(self, queryset: QuerySet[Job], name: str, text: str) -> QuerySet[Job]:
        return search_jobs(queryset, text)
