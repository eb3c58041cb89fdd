"""Reviews in the control room: repositories can be edited; deliveries and reviews are shown."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Collate
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from jobs.admin import show
from jobs.admin.base import AuditedAdmin, ReadOnlyAdmin
from jobs.admin.filters import FixedFilter
from jobs.models import Job, State
from jobs.operators.search import is_storable
from reviews.models import Delivery, Finding, PullRequestReview, Repository, ReviewStatus
from reviews.providers import PROVIDERS

NOT_SUCCEEDED = (State.FAILED, State.CANCELLED, State.DISCARDED)
_PILLS = {
    ReviewStatus.PENDING: "queued",
    ReviewStatus.RUNNING: "running",
    ReviewStatus.DONE: "succeeded",
    ReviewStatus.SUPERSEDED: "discarded",
    ReviewStatus.FAILED: "failed",
}


class RepositoryForm(forms.ModelForm):  # type: ignore[type-arg]
    provider = forms.ChoiceField(
        choices=[(name, name) for name in PROVIDERS], widget=UnfoldAdminSelectWidget, help_text="Who reviews."
    )

    class Meta:
        model = Repository
        fields = ("full_name", "enabled", "provider", "large_files", "large_lines")


@admin.register(Repository)
class RepositoryAdmin(AuditedAdmin):
    form = RepositoryForm
    list_display = ("full_name", "enabled", "provider", "large_files", "large_lines")
    search_fields = ("full_name__istartswith",)
    search_help_text = "Beginning of owner/name"
    ordering = ("full_name",)
    readonly_fields = ("github_id", "created_at")
    fields = ("full_name", "enabled", "provider", "large_files", "large_lines", "github_id", "created_at")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Repository], search_term: str
    ) -> tuple[QuerySet[Repository], bool]:
        if not is_storable(search_term):
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)


class ReviewStatusFilter(FixedFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, status.value) for status in ReviewStatus]


@admin.register(PullRequestReview)
class PullRequestReviewAdmin(ReadOnlyAdmin):
    list_display = ("status_cell", "change_cell", "title", "finding_count", "job_cell", "created_cell", "duration_cell")
    list_display_links = ("change_cell",)
    list_filter = (ReviewStatusFilter,)
    list_select_related = ("repository",)
    ordering = ("-created_at", "-id")
    fieldsets = (
        (None, {"fields": ("status_cell", "change_cell", "title", "base_sha", "head_sha", "error")}),
        ("Findings", {"fields": ("provider", "finding_count", "findings_cell", "coverage_cell")}),
        ("Run", {"fields": ("job_cell", "github_review_id", "created_at", "started_at", "finished_at", "steps_cell")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[PullRequestReview]:
        # The key of jobs has a collation of its own, which a comparison of two columns must name.
        its_job = Job.objects.filter(pk=Collate(OuterRef("job_id"), "C"))
        return super().get_queryset(request).annotate(job_state=Subquery(its_job.values("state")[:1]))

    @display(description="status")
    def status_cell(self, review: PullRequestReview) -> SafeString:
        # A job whose process died, or that was cancelled while it waited, could not say so here.
        job_state = getattr(review, "job_state", None)
        if review.status in (ReviewStatus.PENDING, ReviewStatus.RUNNING) and job_state in NOT_SUCCEEDED:
            return show.pill(f"job {job_state}", str(job_state))
        return show.pill(review.status, _PILLS[ReviewStatus(review.status)])

    @display(description="pull request")
    def change_cell(self, review: PullRequestReview) -> str:
        return f"{review.repository.full_name}#{review.number} at {review.head_sha[:12]}"

    @display(description="job")
    def job_cell(self, review: PullRequestReview) -> SafeString | str:
        return show.job_link(review.job_id) if review.job_id else show.DASH

    @display(description="created")
    def created_cell(self, review: PullRequestReview) -> SafeString | str:
        return show.ago(review.created_at)

    @display(description="took")
    def duration_cell(self, review: PullRequestReview) -> str:
        if review.started_at is None or review.finished_at is None:
            return show.DASH
        return show.duration_text(review.finished_at - review.started_at)

    @display(description="seconds a step")
    def steps_cell(self, review: PullRequestReview) -> str:
        return ", ".join(f"{step} {seconds}" for step, seconds in review.step_seconds.items()) or show.DASH

    @display(description="findings")
    def findings_cell(self, review: PullRequestReview) -> SafeString | str:
        rows = format_html_join("", "<li>{}</li>", ((_finding_text(found),) for found in review.findings.all()[:100]))
        return format_html("<ul>{}</ul>", rows) if rows else show.DASH

    @display(description="read")
    def coverage_cell(self, review: PullRequestReview) -> SafeString | str:
        coverage = review.coverage
        if not coverage:
            return show.DASH
        unread = ((f"{file['path']}: {file['reason']}",) for file in coverage.get("not_read", [])[:100])
        return format_html(
            "{} of {} files{}",
            coverage.get("read"),
            coverage.get("files"),
            format_html("<ul>{}</ul>", format_html_join("", "<li>not read: {}</li>", unread)),
        )


def _finding_text(found: Finding) -> SafeString:
    where = "on its line" if found.anchored else "in the text"
    return format_html(
        "<code>{}:{}</code> {} {} ({}, {})", found.path, found.line, found.rule, found.message, found.severity, where
    )


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("received_cell", "event", "action", "repository", "outcome_cell", "guid")
    list_display_links = ("guid",)
    list_select_related = ("repository",)
    search_fields = ("guid",)
    search_help_text = "GitHub's delivery id"
    ordering = ("-received_at", "-id")
    fields = ("guid", "event", "action", "repository", "outcome", "job_cell", "received_at", "payload_cell")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).defer("payload")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Delivery], search_term: str
    ) -> tuple[QuerySet[Delivery], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return (queryset.filter(guid=term) if is_storable(term) else queryset.none()), False

    @display(description="received")
    def received_cell(self, delivery: Delivery) -> SafeString | str:
        return show.ago(delivery.received_at)

    @display(description="outcome")
    def outcome_cell(self, delivery: Delivery) -> SafeString | str:
        text = show.one_line(delivery.outcome)
        if delivery.job_id and delivery.outcome.startswith("job "):
            return show.job_link(delivery.job_id, text)
        return text

    @display(description="job")
    def job_cell(self, delivery: Delivery) -> SafeString | str:
        if not delivery.job_id or not Job.objects.filter(pk=delivery.job_id).exists():
            return delivery.job_id or show.DASH
        return show.job_link(delivery.job_id)

    @display(description="payload")
    def payload_cell(self, delivery: Delivery) -> SafeString:
        text = json.dumps(delivery.payload, indent=2, ensure_ascii=False)
        return format_html('<pre class="sy-block">{}</pre>', show.block(text))
