"""What GitHub delivered and never arrived: how often it was asked for, and asking now."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.service_pages import Question, line
from reviews.admin.common import ReviewsAdmin, page_url
from reviews.models import MissedDelivery
from reviews.operators import deliveries
from reviews.services.delivery_sweep import PERMISSION

_ASK = Question(
    "Have this delivery sent now?",
    "GitHub is asked to send it again at once, before the sweeper does. It leaves this list when it has arrived.",
    "Ask GitHub",
)


@admin.register(MissedDelivery)
class MissedDeliveryAdmin(ReviewsAdmin):
    noun = "missed delivery"
    sidebar_icon = "sync_problem"
    list_display = ("event_cell", "app_cell", "answer_cell", "asked_cell", "error_cell", "delivered_cell")
    list_display_links = None
    ordering = ("-delivered_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[MissedDelivery]:
        return deliveries.missed_deliveries().order_by(*self.ordering)

    # --- cells ---

    @display(description="Delivery")
    def event_cell(self, missed: MissedDelivery) -> SafeString:
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong><code>{}</code></a>',
            page_url("misseddelivery", missed.pk, "ask"),
            line(f"{missed.event} {missed.action}".strip()),
            line(missed.guid),
        )

    @display(description="App")
    def app_cell(self, missed: MissedDelivery) -> str:
        return str(missed.access)

    @display(description="Our answer")
    def answer_cell(self, missed: MissedDelivery) -> str:
        return str(missed.status_code or "none")

    @display(description="Asked for")
    def asked_cell(self, missed: MissedDelivery) -> str:
        return f"{missed.asked:,} times" if missed.asked else show.DASH

    @display(description="GitHub said")
    def error_cell(self, missed: MissedDelivery) -> SafeString:
        return format_html('<span class="sy-break">{}</span>', line(missed.error) or show.DASH)

    @display(description="Delivered")
    def delivered_cell(self, missed: MissedDelivery) -> SafeString | str:
        return show.ago(missed.delivered_at)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("<int:missed_id>/ask/", self.ask_view, "ask"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """All there is to see stands in the list."""
        self.require_view(request)
        return HttpResponseRedirect(self.url_of("changelist"))

    @permission_required(PERMISSION)
    def ask_view(self, request: HttpRequest, missed_id: int) -> HttpResponse:
        missed = self.found(deliveries.find_missed, missed_id)
        if missed is None:
            return self.missing(request, missed_id)
        back = self.url_of("changelist")
        if request.method != "POST":
            return self.ask(request, _ASK, missed, back)
        asked = self.do(request, lambda: deliveries.ask_for_missed(actor_of(request), missed_id))
        if asked is not None:
            messages.success(request, "GitHub was asked to send it again.")
        return self.back_to(request, back)
