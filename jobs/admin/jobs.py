"""The list of jobs, and what can be done to the chosen ones."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import filters, show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.admin.enqueue import enqueue_page
from jobs.admin.job_actions import ACTIONS, edit_page, single_page
from jobs.admin.job_page import job_page, status_of
from jobs.models import Job, State
from jobs.operators.jobs import each
from jobs.operators.search import NEWEST, is_storable, search_jobs

BIG_COLUMNS = ("embed", "headers", "claim_id", "reason", "group_id", "root_id", "parent_id")


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = (
        "state_cell",
        "job_cell",
        "arguments_cell",
        "queue_cell",
        "attempt_cell",
        "worker_cell",
        "time_cell",
    )
    list_display_links = None
    list_filter = (
        filters.StateFilter,
        filters.QueueFilter,
        filters.TaskFilter,
        filters.FinishedFilter,
        filters.WorkerFilter,
        filters.ScheduleFilter,
        filters.CreatedFilter,
    )
    change_list_template = "jobs/job_list.html"
    search_fields = ("id",)
    search_help_text = "Id, task, or argument (key:value)"
    ordering = ("-created_at", "-id")
    actions = ("retry_selected", "cancel_selected", "discard_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return super().get_queryset(request).defer(*BIG_COLUMNS)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Job | None:
        return Job.objects.filter(pk=object_id).first()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        if search_term.strip():
            filters.note(request, f"Searched by id, else by task, else in the arguments of the newest {NEWEST:,} jobs.")
        return search_jobs(queryset, search_term), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_enqueue = request.user.has_perm("jobs.enqueue_job")
        return super().changelist_view(request, {"may_enqueue": may_enqueue, **(extra_context or {})})

    # --- cells ---

    @display(description="State")
    def state_cell(self, job: Job) -> SafeString:
        return format_html("{}{}", show.state_pill(job), show.progress_bar(job))

    @display(description="Job")
    def job_cell(self, job: Job) -> SafeString:
        error = ""
        if job.state in (State.FAILED, State.SCHEDULED) and job.error:
            line = show.one_line(job.error, 160)
            error = format_html('<span class="sy-error" title="{}">{}</span>', line, line)
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong>{}</strong>'
            '<code title="{}">{}</code></a>{}</div>',
            show.job_url(job.pk),
            job.task,
            job.pk,
            show.short_id(job.pk),
            error,
        )

    @display(description="Arguments")
    def arguments_cell(self, job: Job) -> SafeString:
        return format_html('<code class="sy-arguments">{}</code>', show.call_text(job.args, job.kwargs))

    @display(description="Queue")
    def queue_cell(self, job: Job) -> SafeString:
        return format_html(
            '<span class="sy-two"><span>{}</span><span class="sy-note">priority {}</span></span>',
            job.queue,
            job.priority,
        )

    @display(description="Attempt")
    def attempt_cell(self, job: Job) -> str:
        return show.attempts_text(job)

    @display(description="Worker")
    def worker_cell(self, job: Job) -> SafeString | str:
        if not job.worker:
            return show.DASH
        return format_html('<span title="{}">{}</span>', job.worker, show.one_line(job.worker, 28))

    @display(description="Created")
    def time_cell(self, job: Job) -> SafeString:
        length = show.run_duration(job)
        if job.state == State.SCHEDULED:
            second: Any = format_html("due {}", show.ago(job.run_at))
        else:
            second = f"ran {show.duration_text(length)}" if length is not None else ""
        return format_html(
            '<span class="sy-two"><span>{}</span><span class="sy-note">{}</span></span>',
            show.ago(job.created_at),
            second,
        )

    # --- what can be done: each acts on POST alone, and under its own permission ---

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.retry_job")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.cancel_job")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.discard_job")

    @admin.action(description="Retry", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse:
        return self._selected(request, "retry")

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse:
        return self._selected(request, "cancel")

    @admin.action(description="Discard", permissions=["discard"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse:
        return self._selected(request, "discard")

    def _selected(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask first; act when the answer comes back. Only ticked rows are meant, never "all"."""
        action = ACTIONS[name]
        ids = [i for i in dict.fromkeys(request.POST.getlist(ACTION_CHECKBOX_NAME)) if is_storable(i)]
        if "confirmed" not in request.POST:
            chosen = Job.objects.filter(pk__in=ids).only("id", "task", "state").order_by("-created_at", "-id")
            return self.page(
                request,
                "jobs/confirm.html",
                title=f"{action.label} {len(ids)} {'job' if len(ids) == 1 else 'jobs'}?",
                action=action,
                jobs=list(chosen[:100]),
                ids=ids,
                checkbox_name=ACTION_CHECKBOX_NAME,
                action_name=f"{name}_selected",
                back=request.get_full_path(),
            )
        tally = each(action.service, actor_of(request), ids, **action.options(request.POST))
        level = messages.SUCCESS if tally.changed and not tally.skipped else messages.WARNING
        messages.add_message(request, level, f"{tally.sentence(action.done)}.")
        return HttpResponseRedirect(request.get_full_path())

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [
            self.own_path("enqueue/", self.enqueue_view, "enqueue"),
            self.own_path("<path:object_id>/retry/", self.retry_view, "retry"),
            self.own_path("<path:object_id>/edit/", self.edit_view, "edit"),
            self.own_path("<path:object_id>/cancel/", self.cancel_view, "cancel"),
            self.own_path("<path:object_id>/discard/", self.discard_view, "discard"),
            self.own_path("<path:object_id>/status/", self.status_view, "status"),
            *super().get_urls(),
        ]

    @permission_required("jobs.enqueue_job")
    def enqueue_view(self, request: HttpRequest) -> HttpResponse:
        return enqueue_page(self, request)

    @permission_required("jobs.retry_job")
    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return single_page(self, request, object_id, ACTIONS["retry"])

    @permission_required("jobs.edit_job_arguments")
    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return edit_page(self, request, object_id)

    @permission_required("jobs.cancel_job")
    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return single_page(self, request, object_id, ACTIONS["cancel"])

    @permission_required("jobs.discard_job")
    def discard_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return single_page(self, request, object_id, ACTIONS["discard"])

    @permission_required("jobs.view_job")
    def status_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        job = self.object_or_none(request, object_id)
        if job is None:
            return JsonResponse({"error": "no such job"}, status=404)
        return JsonResponse(status_of(job))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The job's page: everything to read, and buttons that lead to a question."""
        self.require_view(request)
        job = self.object_or_none(request, object_id)
        if job is None:
            return self.to_list(request, f"There is no job {object_id!r}; it may have been pruned.")
        return job_page(self, request, job)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(self.url_of("change", object_id))
