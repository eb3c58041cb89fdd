"""What language models were asked, call by call, and what that cost by day."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.filters import CreatedFilter
from jobs.admin.service_pages import line, link, spelled
from reviews.admin.common import ReviewsAdmin, dollars, page_url, repository_link
from reviews.admin.filters import ChoiceFilter, ProviderFilter, RepositoryFilter, newest
from reviews.admin.review_page import call_pill, tokens_text
from reviews.models import LlmCall
from reviews.operators import llm_calls
from reviews.operators.llm_calls import Summed

SHOWN_DAYS = 7


class CallProviderFilter(ProviderFilter):
    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(provider=value)


class PurposeFilter(ChoiceFilter):
    title = "purpose"
    parameter_name = "purpose"
    choices_of = tuple((name, name) for name in llm_calls.PURPOSES)

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return newest(request, queryset, "created_at").filter(purpose=value)


class FailedFilter(ChoiceFilter):
    title = "what came of it"
    parameter_name = "failed"
    choices_of = (("yes", "failed"), ("no", "answered"))

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        queryset = newest(request, queryset, "created_at").filter(finished_at__isnull=False)
        return queryset.exclude(error="") if value == "yes" else queryset.filter(error="")


class CallRepositoryFilter(RepositoryFilter):
    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return newest(request, queryset, "created_at").filter(repository__full_name=value)


@admin.register(LlmCall)
class LlmCallAdmin(ReviewsAdmin):
    noun = "LLM call"
    sidebar_icon = "receipt_long"
    list_display = ("state_cell", "call_cell", "about_cell", "tokens_cell", "cost_cell", "took_cell", "created_cell")
    list_display_links = None
    list_filter = (CallProviderFilter, PurposeFilter, CallRepositoryFilter, FailedFilter, CreatedFilter)
    list_before_template = "reviews/call_sums.html"
    ordering = ("-created_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[LlmCall]:
        return llm_calls.calls().order_by(*self.ordering)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        since = timezone.now() - timedelta(days=SHOWN_DAYS)
        provider = request.GET.get("provider", "")
        days = llm_calls.sums("day", created_after=since, provider=provider)
        return super().changelist_view(
            request, {**(extra_context or {}), "days": shown_sums(days), "of_provider": provider}
        )

    # --- cells ---

    @display(description="State")
    def state_cell(self, call: LlmCall) -> SafeString:
        return call_pill(call)

    @display(description="Call")
    def call_cell(self, call: LlmCall) -> SafeString:
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', line(call.error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong class="sy-break">{}, {}</strong>'
            '<span class="sy-about">{}</span></a>{}</div>',
            page_url("llmcall", call.pk),
            call.provider,
            call.purpose,
            call.model,
            error if call.error else "",
        )

    @display(description="About")
    def about_cell(self, call: LlmCall) -> SafeString | str:
        return _about(call)

    @display(description="Tokens")
    def tokens_cell(self, call: LlmCall) -> str:
        return tokens_text(call)

    @display(description="Cost")
    def cost_cell(self, call: LlmCall) -> str:
        return dollars(call.cost_usd)

    @display(description="Took")
    def took_cell(self, call: LlmCall) -> str:
        return show.DASH if call.seconds is None else f"{call.seconds:,.1f} s"

    @display(description="Created")
    def created_cell(self, call: LlmCall) -> SafeString | str:
        return show.ago(call.created_at)

    # --- its page ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        call = self.found(llm_calls.find_call, object_id)
        if call is None:
            return self.missing(request, object_id)
        return self.page(
            request,
            "reviews/llm_call.html",
            title=f"Call of {call.provider}",
            call=call,
            pill=call_pill(call),
            error=spelled(call.error),
            facts=_facts(request, call),
        )


def shown_sums(sums: list[Summed]) -> list[tuple[str, ...]]:
    """Rows for templates/reviews/sums.html."""
    return [
        (
            one.of,
            *(f"{number:,}" for number in (one.calls, one.failed)),
            *(f"{number:,}" for number in (one.input_tokens, one.cached_tokens, one.output_tokens)),
            dollars(one.cost_usd),
        )
        for one in sums
    ]


def _about(call: LlmCall) -> SafeString | str:
    number = f"#{call.number}" if call.number else ""
    text = f"{call.repository or ''}{number}" or show.DASH
    return link(page_url("pullrequestreview", call.review_id), text) if call.review_id else text


def _facts(request: HttpRequest, call: LlmCall) -> list[tuple[str, Any]]:
    is_open = call.finished_at is None
    facts: list[tuple[str, Any]] = [
        ("Model", format_html('<span class="sy-break">{}</span>', call.model)),
        ("Purpose", call.purpose),
        ("Repository", repository_link(request, call.repository) if call.repository else ""),
        ("About", _about(call) if call.number else ""),
        ("Tokens", tokens_text(call)),
        ("Of these, written to its cache", f"{call.written_tokens:,}" if call.written_tokens else ""),
        ("Estimated before", f"{call.estimated_tokens:,} in" if call.estimated_tokens else ""),
        ("Reserved, at most" if is_open else "Cost", dollars(call.cost_usd, 6)),
        ("Took", f"{call.seconds:,.2f} s" if call.seconds is not None else ""),
        ("Job", show.job_link(call.job_id, call.job_id) if call.job_id else ""),
        ("Sent", show.exact(call.created_at)),
        ("Ended", show.exact(call.finished_at) if call.finished_at else ""),
    ]
    return [(name, value) for name, value in facts if value]
