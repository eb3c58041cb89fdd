"""What GitHub delivered: what came of each, its payload, and handling it again."""

import json
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.filters import CreatedFilter
from jobs.admin.service_pages import Question, line, sentence, spelled
from jobs.models import Job
from jobs.operators.search import is_storable
from reviews.admin.common import ReviewsAdmin, page_url, repository_link
from reviews.admin.filters import ChoiceFilter, RepositoryFilter, newest
from reviews.models import Delivery
from reviews.operators import deliveries
from reviews.services.delivery_sweep import PERMISSION

_EVENTS = (
    *("pull_request", "pull_request_review_comment", "pull_request_review_thread", "issue_comment", "issues", "label"),
    *("check_run", "push", "repository", "installation", "installation_repositories", "ping"),
)
_ACTIONS = (
    *("opened", "synchronize", "reopened", "ready_for_review", "edited", "closed", "created", "deleted"),
    *("labeled", "unlabeled", "rerequested", "resolved", "added", "removed", "renamed", "suspend", "unsuspend"),
)
_QUESTIONS = {
    "handle": Question(
        "Handle this delivery again?",
        "What it asks for is started anew from the stored payload. A head that was reviewed is not reviewed again.",
        "Handle again",
    ),
    "redeliver": Question(
        "Have this delivery again?",
        "It is handled again from the stored payload; where only an outline of that was kept, GitHub is asked to send "
        "it again.",
        "Redeliver",
    ),
}


class EventFilter(ChoiceFilter):
    title = "event"
    parameter_name = "event"
    choices_of = tuple((name, name) for name in _EVENTS)
    takes_others = True


class ActionFilter(ChoiceFilter):
    title = "action"
    parameter_name = "action"
    choices_of = tuple((name, name) for name in _ACTIONS)
    takes_others = True

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return newest(request, queryset, "received_at").filter(action=value)


class OutcomeFilter(ChoiceFilter):
    title = "outcome"
    parameter_name = "outcome"
    choices_of = (("job", "started a job"), ("ignored", "ignored"))

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return newest(request, queryset, "received_at").filter(outcome__startswith=deliveries.OUTCOMES[value])


class ReceivedFilter(CreatedFilter):
    title = "received"
    field = "received_at"
    parameter_name = "received_after"
    until_name = "received_before"


@admin.register(Delivery)
class DeliveryAdmin(ReviewsAdmin):
    noun = "delivery"
    sidebar_icon = "webhook"
    list_display = ("event_cell", "repository_cell", "outcome_cell", "repeats_cell", "received_cell")
    list_display_links = None
    list_filter = (EventFilter, ActionFilter, RepositoryFilter, OutcomeFilter, ReceivedFilter)
    search_fields = ("guid",)
    search_help_text = "GitHub's delivery id"
    ordering = ("-received_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return deliveries.deliveries().order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Delivery], search_term: str
    ) -> tuple[QuerySet[Delivery], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return (queryset.filter(guid=term) if is_storable(term) else queryset.none()), False

    # --- cells ---

    @display(description="Delivery")
    def event_cell(self, delivery: Delivery) -> SafeString:
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong><code>{}</code></a>',
            page_url("delivery", delivery.pk),
            _what(delivery),
            delivery.guid,
        )

    @display(description="Repository")
    def repository_cell(self, delivery: Delivery) -> str:
        return str(delivery.repository or show.DASH)

    @display(description="Outcome")
    def outcome_cell(self, delivery: Delivery) -> SafeString | str:
        text = line(delivery.outcome)
        if delivery.job_id and delivery.outcome.startswith("job "):
            return show.job_link(delivery.job_id, text)
        return format_html('<span class="sy-break">{}</span>', text)

    @display(description="Repeated")
    def repeats_cell(self, delivery: Delivery) -> str:
        return f"{delivery.repeats:,}" if delivery.repeats else show.DASH

    @display(description="Received")
    def received_cell(self, delivery: Delivery) -> SafeString | str:
        return show.ago(delivery.received_at)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("<int:delivery_id>/handle/", self.handle_view, "handle"),
            self.own_path("<int:delivery_id>/redeliver/", self.redeliver_view, "redeliver"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        delivery = self.found(deliveries.find_delivery, object_id)
        if delivery is None:
            return self.missing(request, object_id)
        may = request.user.has_perm(PERMISSION)
        is_outline = "not_kept_bytes" in delivery.payload
        return self.page(
            request,
            "reviews/delivery.html",
            title=f"Delivery of {_what(delivery)}",
            delivery=delivery,
            facts=_facts(request, delivery),
            payload=spelled(show.block(json.dumps(delivery.payload, indent=2, ensure_ascii=False))),
            is_outline=is_outline,
            handle_url=page_url("delivery", delivery.pk, "handle") if may and not is_outline else "",
            redeliver_url=page_url("delivery", delivery.pk, "redeliver") if may and is_outline else "",
        )

    @permission_required(PERMISSION)
    def handle_view(self, request: HttpRequest, delivery_id: int) -> HttpResponse:
        delivery = self.found(deliveries.find_delivery, delivery_id)
        if delivery is None:
            return self.missing(request, delivery_id)
        back = page_url("delivery", delivery.pk)
        if request.method != "POST":
            return self.ask(request, _QUESTIONS["handle"], f"{_what(delivery)}, {delivery.guid}", back)
        again = self.do(request, lambda: deliveries.handle_again(actor_of(request), delivery_id))
        if again is not None:
            messages.success(request, f"Handled again: {line(again.outcome, 300)}")
        return self.back_to(request, back)

    @permission_required(PERMISSION)
    def redeliver_view(self, request: HttpRequest, delivery_id: int) -> HttpResponse:
        delivery = self.found(deliveries.find_delivery, delivery_id)
        if delivery is None:
            return self.missing(request, delivery_id)
        back = page_url("delivery", delivery.pk)
        if request.method != "POST":
            return self.ask(request, _QUESTIONS["redeliver"], f"{_what(delivery)}, {delivery.guid}", back)
        done = self.do(request, lambda: deliveries.redeliver_delivery(actor_of(request), delivery_id))
        if done is not None:
            messages.success(request, sentence(done[1]))
        return self.back_to(request, back)


def _what(delivery: Delivery) -> str:
    return f"{delivery.event} {delivery.action}".strip()


def _facts(request: HttpRequest, delivery: Delivery) -> list[tuple[str, Any]]:
    job: Any = delivery.job_id
    if job and Job.objects.filter(pk=job).exists():
        job = show.job_link(job, job)
    facts: list[tuple[str, Any]] = [
        ("GitHub's id", format_html('<code class="sy-break">{}</code>', delivery.guid)),
        ("Repository", repository_link(request, delivery.repository) if delivery.repository else ""),
        ("Came to", str(delivery.access) if delivery.access else "the environment's secret"),
        ("Outcome", format_html('<span class="sy-break">{}</span>', spelled(delivery.outcome))),
        ("Job", job),
        ("Received", show.exact(delivery.received_at)),
        ("Delivered again", f"{delivery.repeats:,} times" if delivery.repeats else ""),
        ("GitHub was asked again", show.exact(delivery.asked_again_at) if delivery.asked_again_at else ""),
    ]
    return [(name, value) for name, value in facts if value]
