"""What tasks returned: django-celery-results' table, without its scans."""

from typing import Any

from celery import states
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_celery_results.models import GroupResult, TaskResult
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin
from jobs.admin.filters import FixedFilter, ResultTimeFilter, TaskFilter
from jobs.models import Job
from jobs.operators.search import is_storable

KINDS = {states.SUCCESS: "succeeded", states.FAILURE: "failed", states.REVOKED: "cancelled"}

for stock in (TaskResult, GroupResult):
    if admin.site.is_registered(stock):
        admin.site.unregister(stock)


class StatusFilter(FixedFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (state, state) for state in (states.SUCCESS, states.FAILURE, states.RETRY, states.REVOKED, states.STARTED)
        ]


class ResultTaskFilter(TaskFilter):
    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(task_name=value)


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin):
    list_display = ("status_cell", "task_cell", "result_cell", "worker", "done_cell")
    list_display_links = None
    list_filter = (StatusFilter, ResultTaskFilter, ResultTimeFilter)
    search_fields = ("task_id",)
    search_help_text = "Beginning of a job's id"
    ordering = ("-date_done", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskResult]:
        return super().get_queryset(request).defer("traceback", "meta", "task_args", "task_kwargs")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TaskResult], search_term: str
    ) -> tuple[QuerySet[TaskResult], bool]:
        term = search_term.strip()
        if not is_storable(term):
            return queryset.none(), False
        return (queryset.filter(task_id__startswith=term) if term else queryset), False

    @display(description="Status")
    def status_cell(self, result: TaskResult) -> SafeString:
        return show.pill(result.status, KINDS.get(result.status, "running"))

    @display(description="Job")
    def task_cell(self, result: TaskResult) -> SafeString:
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong>{}</strong><code title="{}">{}</code></a>',
            reverse("admin:django_celery_results_taskresult_change", args=[result.pk]),
            result.task_name or "unknown task",
            result.task_id,
            show.short_id(result.task_id),
        )

    @display(description="Result")
    def result_cell(self, result: TaskResult) -> SafeString:
        return format_html('<code class="sy-arguments">{}</code>', show.one_line(result.result or "null", 120))

    @display(description="Done")
    def done_cell(self, result: TaskResult) -> SafeString | str:
        return show.ago(result.date_done)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        result = self.object_or_none(request, object_id)
        if result is None:
            return self.to_list(request, f"There is no result {object_id!r}; it may have been emptied.")
        facts = [
            ("Job", show.job_link(result.task_id, result.task_id) if self._has_job(result) else result.task_id),
            ("Task", result.task_name),
            ("Worker", result.worker),
            ("Schedule", result.periodic_task_name),
            ("Created", show.exact(result.date_created)),
            ("Started", show.exact(result.date_started) if result.date_started else ""),
            ("Done", show.exact(result.date_done)),
        ]
        return self.page(
            request,
            "jobs/result.html",
            title=result.task_name or "Result",
            pill=self.status_cell(result),
            facts=[(name, value) for name, value in facts if value],
            result=show.block(result.result or "null"),
            traceback=show.block(result.traceback or ""),
        )

    def _has_job(self, result: TaskResult) -> bool:
        return Job.objects.filter(pk=result.task_id).exists()
