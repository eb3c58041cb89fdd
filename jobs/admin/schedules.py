"""Schedules: when they run next, in words and times, and what can be done to them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_POST
from django_celery_beat.models import PeriodicTask
from unfold.decorators import display

from jobs.admin import filters, show
from jobs.admin.base import BaseAdmin, actor_of, permission_required
from jobs.admin.schedule_form import ScheduleForm
from jobs.ledger.errors import JobRefused
from jobs.models import Job, ScheduleTick, TickOutcome
from jobs.operators.schedule_edits import create_schedule, delete_schedule, edit_schedule
from jobs.operators.schedules import MayNotEnqueue, ScheduleNotFound, enqueue_run, set_enabled, ticks_of
from jobs.operators.search import is_storable, newest
from jobs.operators.timetables import CRON_PARTS, KINDS, ScheduleRefused
from jobs.registry import ArgumentsDoNotFit, UnknownTask
from jobs.schedules.calls import ScheduleUnusable
from jobs.schedules.defaults import differences
from jobs.schedules.next_runs import describe_schedule, next_runs

PART_NAMES = {"args": "arguments", "kwargs": "named arguments", **dict.fromkeys(KINDS, "times")}
OUTCOME_LOOKS = {
    TickOutcome.SENT: ("sent", "good"),
    TickOutcome.CAUGHT_UP: ("sent late", "scheduled"),
    TickOutcome.FOLDED: ("folded", "quiet"),
    TickOutcome.SKIPPED: ("missed", "bad"),
    TickOutcome.FAILED: ("failed", "failed"),
}
NOT_RUN = (ScheduleNotFound, ScheduleUnusable, UnknownTask, ArgumentsDoNotFit, JobRefused)
LATEST_JOBS = 10
LATEST_TICKS = 20
LATE_SECONDS = 5

if admin.site.is_registered(PeriodicTask):
    admin.site.unregister(PeriodicTask)


class EnabledFilter(filters.FixedFilter):
    title = "enabled"
    parameter_name = "enabled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "yes"), ("no", "no")]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(enabled=value == "yes")


@admin.register(PeriodicTask)
class ScheduleAdmin(BaseAdmin):
    form = ScheduleForm
    list_display = ("name_cell", "schedule_cell", "enabled_cell", "next_cell", "last_cell", "run_cell")
    list_display_links = None
    list_filter = (EnabledFilter, filters.TaskFilter)
    search_fields = ("name",)
    search_help_text = "Name or task"
    ordering = ("name",)
    actions = ("enable_selected", "disable_selected", "run_selected")
    change_form_outer_before_template = "jobs/schedule_panel.html"
    change_form_before_template = "jobs/shown_input.html"
    fieldsets = (
        (None, {"fields": ("name", "description", "task", "args", "kwargs", "enabled")}),
        (
            "When",
            {
                "fields": (
                    *("kind", "every", "period", "cron", "cron_zone", "clocked_at", "event", "latitude", "longitude"),
                    *("start_time", "expires", "one_off"),
                )
            },
        ),
        ("How", {"fields": ("queue", "priority")}),
        ("When runs were missed", {"fields": ("catch_up", "catch_up_limit", "grace_seconds")}),
    )

    class Media:
        js = ("jobs/schedule_form.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        queryset: QuerySet[PeriodicTask] = super().get_queryset(request)
        return queryset.select_related("interval", "crontab", "clocked", "solar", "policy", "code_default")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask], search_term: str
    ) -> tuple[QuerySet[PeriodicTask], bool]:
        term = search_term.strip()
        if not is_storable(term):
            return queryset.none(), False
        return (
            queryset.filter(name__icontains=term) | queryset.filter(task__icontains=term)
        ) if term else queryset, False

    # --- cells ---

    @display(description="Schedule")
    def name_cell(self, task: PeriodicTask) -> SafeString:
        differs = [name for name, _, _ in differences_shown(task)]
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong>{}</strong><span class="sy-note">{}</span></a>',
            self.url_of("change", task.pk),
            task.name,
            f"{task.task} · differs from the code: {', '.join(differs)}" if differs else task.task,
        )

    @display(description="Runs")
    def schedule_cell(self, task: PeriodicTask) -> str:
        return describe_schedule(task)

    @display(description="Enabled")
    def enabled_cell(self, task: PeriodicTask) -> SafeString:
        return show.pill("enabled", "good") if task.enabled else show.pill("disabled", "quiet")

    @display(description="Next run")
    def next_cell(self, task: PeriodicTask) -> SafeString | str:
        runs = next_runs(task)
        if not runs:
            return problem_of(task) or show.DASH
        later = format_html_join("", "<li>{} <span>{}</span></li>", ((local(run), utc(run)) for run in runs))
        return format_html(
            '<details class="sy-next"><summary>{}</summary><ol>{}</ol></details>', show.ago(runs[0]), later
        )

    @display(description="Last run")
    def last_cell(self, task: PeriodicTask) -> SafeString:
        url = f"{reverse('admin:jobs_job_changelist')}?{urlencode({'schedule': task.name})}"
        return format_html(
            '<span class="sy-two"><span>{}</span><a class="sy-note sy-link" href="{}">its jobs</a></span>',
            show.ago(task.last_run_at) if task.last_run_at else "never",
            url,
        )

    @display(description="")
    def run_cell(self, task: PeriodicTask) -> SafeString:
        return format_html('<a class="sy-button sy-small" href="{}">Open</a>', self.url_of("change", task.pk))

    # --- what can be done ---

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.enqueue_job")

    def has_enable_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request) and self.has_run_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and self.has_run_permission(request)

    @admin.action(description="Enable", permissions=["enable"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, True)

    @admin.action(description="Disable", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, False)

    @admin.action(description="Run now", permissions=["run"])
    def run_selected(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        for pk in queryset.order_by("name").values_list("pk", flat=True)[:100]:
            self._run(request, pk)

    def _switch(self, request: HttpRequest, queryset: QuerySet[PeriodicTask], enabled: bool) -> None:
        chosen = list(queryset.values_list("pk", "name", "enabled"))
        word = "enabled" if enabled else "disabled"
        changed = 0
        for pk, name, was in chosen:
            if was is enabled:
                continue
            try:
                set_enabled(actor_of(request), pk, enabled)
                changed += 1
            except (ScheduleRefused, ScheduleNotFound) as exc:
                messages.error(request, f"{name} is not {word}: {exc}")
        text = f"{changed} {'schedule' if changed == 1 else 'schedules'} {word}"
        before = sum(was is enabled for _, _, was in chosen)
        if before:
            text += f"; {before} not, because they were {word} before"
        messages.add_message(request, messages.SUCCESS if changed else messages.WARNING, f"{text}.")

    def _run(self, request: HttpRequest, pk: int) -> None:
        try:
            sent = enqueue_run(actor_of(request), pk)
        except NOT_RUN as exc:
            messages.error(request, f"Not run: {exc}")
            return
        text = (
            "An earlier job of this schedule is not finished, so no new one was made: {}"
            if sent.folded
            else "1 job enqueued: {}"
        )
        level = messages.WARNING if sent.folded else messages.SUCCESS
        messages.add_message(request, level, format_html(text, show.job_link(sent.job.pk)))

    def get_urls(self) -> list[URLPattern]:
        return [
            self.own_path("<int:schedule_id>/run/", self.run_view, "run"),
            self.own_path("<int:schedule_id>/enable/", self.enable_view, "enable"),
            self.own_path("<int:schedule_id>/disable/", self.disable_view, "disable"),
            *super().get_urls(),
        ]

    @permission_required("jobs.enqueue_job")
    def run_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        return self._do(request, schedule_id, lambda: self._run(request, schedule_id))

    @permission_required("django_celery_beat.change_periodictask")
    def enable_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        return self._do(request, schedule_id, lambda: self._switch(request, self._one(request, schedule_id), True))

    @permission_required("django_celery_beat.change_periodictask")
    def disable_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        return self._do(request, schedule_id, lambda: self._switch(request, self._one(request, schedule_id), False))

    def _one(self, request: HttpRequest, schedule_id: int) -> QuerySet[PeriodicTask]:
        return self.get_queryset(request).filter(pk=schedule_id)

    def _do(self, request: HttpRequest, schedule_id: int, deed: Callable[[], None]) -> HttpResponse:
        """Do it, on POST alone, and go back to the schedule."""

        def view(request: HttpRequest) -> HttpResponse:
            if schedule_id > 2**31 - 1 or not self._one(request, schedule_id).exists():
                return self.to_list(request, f"There is no schedule {schedule_id}.")
            deed()
            return HttpResponseRedirect(self.url_of("change", schedule_id))

        return require_POST(view)(request)

    # --- the form ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        task = self.object_or_none(request, object_id)
        if task is not None and self.has_view_or_change_permission(request):
            extra_context = {**self._panel(request, task), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, extra_context)

    def _panel(self, request: HttpRequest, task: PeriodicTask) -> dict[str, Any]:
        jobs = []
        if request.user.has_perm("jobs.view_job"):
            recent = Job.objects.filter(task=task.task, origin="schedule", origin_detail=task.name)
            jobs = list(newest(recent).defer("embed", "headers").order_by("-created_at", "-id")[:LATEST_JOBS])
        return {
            "schedule": task,
            "schedule_words": describe_schedule(task),
            "next_runs": [(local(run), utc(run), show.ago(run)) for run in next_runs(task)],
            "latest_jobs": [
                {
                    "url": show.job_url(job.pk),
                    "id": show.short_id(job.pk),
                    "pill": show.state_pill(job),
                    "ago": show.ago(job.created_at),
                }
                for job in jobs
            ],
            "latest_ticks": [_tick_shown(tick) for tick in ticks_of(task)[:LATEST_TICKS]],
            "differences": differences_shown(task),
            "problem": problem_of(task),
            "may_run": self.has_run_permission(request),
            "may_switch": self.has_change_permission(request) if task.enabled else self.has_enable_permission(request),
        }

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (ScheduleRefused, ScheduleNotFound, MayNotEnqueue) as exc:
            # Somebody else was first, after the form was checked; or only another name or queue may be given.
            return self.to_list(request, f"Not saved: {exc}")

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: ScheduleForm, change: bool) -> None:
        if not change:
            made = create_schedule(actor_of(request), form.spec())
            obj.__dict__.update(made.__dict__)
        elif form.spec():
            edit_schedule(actor_of(request), obj.pk, form.spec())

    def delete_model(self, request: HttpRequest, obj: PeriodicTask) -> None:
        delete_schedule(actor_of(request), obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        for task in queryset:
            self.delete_model(request, task)


def problem_of(task: PeriodicTask) -> str:
    policy = getattr(task, "policy", None)
    return f"no next run: {policy.problem}" if policy and policy.problem and task.enabled else ""


def differences_shown(task: PeriodicTask) -> list[tuple[str, str, str]]:
    """What differs from the code: the part's name, what it is, and what the code says; timetables are one part."""
    shown: dict[str, tuple[Any, Any]] = {}
    for part, values in differences(task).items():
        name = PART_NAMES.get(part, part)
        now, default = shown.get(name, (None, None))
        shown[name] = (values["now"] if now is None else now, values["default"] if default is None else default)
    return [(name, compact(now), compact(default)) for name, (now, default) in shown.items()]


def compact(value: Any) -> str:
    """One part of a schedule, as short text."""
    if isinstance(value, dict) and "minute" in value:
        return " ".join(str(value[part]) for part in (*CRON_PARTS, "timezone"))
    if isinstance(value, dict) and set(value) == {"every", "period"}:
        return f"every {value['every']} {value['period']}"
    return "—" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tick_shown(tick: ScheduleTick) -> dict[str, Any]:
    text, look = OUTCOME_LOOKS[TickOutcome(tick.outcome)]
    late = (tick.at - tick.due_at).total_seconds()
    return {
        "due": show.time_element(tick.due_at, f"{timezone.localtime(tick.due_at):%a %m-%d %H:%M:%S}"),
        "pill": show.pill(text if tick.ticks == 1 else f"{tick.ticks:,} {text}", look),
        "late": f"{show.duration_text(timedelta(seconds=late))} late" if late >= LATE_SECONDS else "",
        "job": show.job_link(tick.job_id) if tick.job_id else "",
        "detail": tick.detail,
    }


def local(run: datetime) -> str:
    return f"{run:%a %Y-%m-%d %H:%M:%S} {run.tzname()}"


def utc(run: datetime) -> SafeString | str:
    return (
        mark_safe("")
        if run.utcoffset() is not None and run.tzname() == "UTC"
        else f"{run.astimezone(UTC):%H:%M:%S} UTC"
    )
