"""Language models that may review: entered, tried, and what each costs against its cap."""

from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Now, TruncDay
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.service_pages import Question, line, spelled
from jobs.admin.settings_form import Group, SettingsForm
from jobs.operators.settings import SettingsRefused
from reviews.admin.common import ReviewsAdmin, dollars, page_url
from reviews.admin.llm_calls import shown_sums
from reviews.llm.costs import spent_today
from reviews.models import LlmCall, LlmProvider, Repository
from reviews.operators import llm_calls, llm_providers

SHOWN_DAYS = 14
MOST_REPOSITORIES = 20
_PRICED = ("in", "in, cached", "out")
_REMOVE = Question(
    "Remove this provider?", "Its key is deleted with it. What its calls cost stays on record.", "Remove"
)
_NAME = {"name": ("Name", "Letters, digits, dashes and underscores; repositories choose it by this. It stays.")}
_MODEL = {
    "kind": ("Kind", ""),
    "model": ("Model", ""),
    "base_url": ("Address", "Empty: the provider's own. Of a server of your own, up to its /v1."),
    "api_key": ("API key", "Empty: ANTHROPIC_API_KEY or OPENAI_API_KEY of the environment."),
    "enabled": ("Enabled", "Else reviews fall back to the embedded reviewer, and say so."),
}
_GROUPS = (
    Group(
        "Size",
        "",
        {
            "context_tokens": ("Tokens of a request, at most", "4,000 to 1,000,000. A larger change is cut up."),
            "output_tokens": ("Tokens of an answer, at most", ""),
            "max_requests": ("Requests for a change, at most", "What does not fit in is named as not read."),
            "requests_per_minute": ("Requests a minute", "All workers together."),
        },
    ),
    Group(
        "Cost",
        "In dollars. A call is booked at the most that it may cost before it is made; what would go beyond a cap is "
        "not made.",
        {
            "input_usd_per_million": ("A million tokens in", "Empty in a new one: what is known of the model."),
            "cached_usd_per_million": ("A million tokens in, from its cache", ""),
            "output_usd_per_million": ("A million tokens out", ""),
            "change_cap_usd": ("For a change, at most", ""),
            "daily_cap_usd": ("For a day, at most", "A day of UTC."),
        },
    ),
    Group("Findings", "", {"min_confidence": ("Least confidence", "")}),
)


class LlmProviderForm(SettingsForm):
    left_to_service = frozenset({"input_usd_per_million", "cached_usd_per_million", "output_usd_per_million"})

    def __init__(self, row: LlmProvider, data: Any) -> None:
        fields = _NAME | _MODEL if row._state.adding else _MODEL
        super().__init__(row, (Group("The model", "", fields), *_GROUPS), {}, data)


def provider_pill(provider: LlmProvider) -> SafeString:
    if not provider.enabled:
        return show.pill("off", "quiet")
    if provider.error:
        return show.pill("refused", "bad")
    return show.pill("works", "good") if provider.checked_at else show.pill("not tried yet", "queued")


@admin.register(LlmProvider)
class LlmProviderAdmin(ReviewsAdmin):
    noun = "LLM provider"
    sidebar_icon = "psychology"
    list_display = ("state_cell", "name_cell", "key_cell", "today_cell", "checked_cell")
    list_display_links = None
    list_filter_submit = False
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[LlmProvider]:
        calls = LlmCall.objects.filter(provider=OuterRef("name"), created_at__gte=TruncDay(Now(), tzinfo=UTC))
        spent = calls.order_by().values("provider").annotate(sum=Sum("cost_usd")).values("sum")
        return llm_providers.providers().annotate(spent=Subquery(spent)).order_by(*self.ordering)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reviews.add_llmprovider")

    # --- cells ---

    @display(description="State")
    def state_cell(self, provider: LlmProvider) -> SafeString:
        return provider_pill(provider)

    @display(description="Provider")
    def name_cell(self, provider: LlmProvider) -> SafeString:
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', line(provider.error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}</span></a>{}</div>',
            page_url("llmprovider", provider.pk),
            provider.name,
            provider.model,
            error if provider.error else "",
        )

    @display(description="Key")
    def key_cell(self, provider: LlmProvider) -> str:
        return "set" if provider.api_key else "of the environment"

    @display(description="Checked")
    def checked_cell(self, provider: LlmProvider) -> SafeString | str:
        return show.ago(provider.checked_at)

    @display(description="Today, of its cap")
    def today_cell(self, provider: Any) -> SafeString:
        return cap_bar(provider.spent or Decimal(0), provider.daily_cap_usd)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("<int:provider_id>/edit/", self.edit_view, "edit"),
            self.own_path("<int:provider_id>/check/", self.check_view, "check"),
            self.own_path("<int:provider_id>/remove/", self.remove_view, "remove"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A provider's page."""
        self.require_view(request)
        row = self.found(llm_providers.find_provider, object_id)
        if row is None:
            return self.missing(request, object_id)
        user = request.user
        may_see_calls = user.has_perm("reviews.view_llmcall")
        since = timezone.now() - timedelta(days=SHOWN_DAYS)
        calls = reverse("admin:reviews_llmcall_changelist")
        return self.page(
            request,
            "reviews/llm_provider.html",
            title=row.name,
            row=row,
            pill=provider_pill(row),
            error=spelled(row.error),
            facts=_facts(row),
            today=cap_bar(spent_today(row.name), row.daily_cap_usd),
            days=shown_sums(llm_calls.sums("day", provider=row.name, created_after=since)) if may_see_calls else [],
            calls_url=f"{calls}?{urlencode({'provider': row.name})}" if may_see_calls else "",
            may_change=user.has_perm("reviews.change_llmprovider"),
            edit_url=page_url("llmprovider", row.pk, "edit"),
            check_url=page_url("llmprovider", row.pk, "check"),
            remove_url=page_url("llmprovider", row.pk, "remove") if user.has_perm("reviews.delete_llmprovider") else "",
        )

    @permission_required("reviews.add_llmprovider")
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self._form(request, LlmProvider(), "Enter a language model", self.url_of("changelist"))

    @permission_required("reviews.change_llmprovider")
    def edit_view(self, request: HttpRequest, provider_id: int) -> HttpResponse:
        row = self.found(llm_providers.find_provider, provider_id)
        if row is None:
            return self.missing(request, provider_id)
        return self._form(request, row, f"Settings of {row.name}", page_url("llmprovider", row.pk))

    def _form(self, request: HttpRequest, row: LlmProvider, title: str, back: str) -> HttpResponse:
        form = LlmProviderForm(row, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            actor, given = actor_of(request), form.given()
            try:
                if row._state.adding:
                    row = llm_providers.create_provider(actor, given)
                elif given:
                    row = llm_providers.change_provider(actor, row.pk, given)
            except SettingsRefused as exc:
                form.refuse(exc)
            else:
                messages.success(request, f"{row.name} is saved." if given else "Nothing was changed.")
                return self.back_to(request, page_url("llmprovider", row.pk))
        return self.form_page(request, title, form, back)

    @permission_required("reviews.change_llmprovider")
    def check_view(self, request: HttpRequest, provider_id: int) -> HttpResponse:
        """On POST alone."""
        row = self.found(llm_providers.find_provider, provider_id)
        if row is None:
            return self.missing(request, provider_id)
        if request.method == "POST":
            job = llm_providers.have_checked(actor_of(request), row)
            text = "A tiny request is sent by job {}; what came of it stands below in a few seconds."
            messages.success(request, format_html(text, show.job_link(job)))
        return self.back_to(request, page_url("llmprovider", row.pk))

    @permission_required("reviews.delete_llmprovider")
    def remove_view(self, request: HttpRequest, provider_id: int) -> HttpResponse:
        row = self.found(llm_providers.find_provider, provider_id)
        if row is None:
            return self.missing(request, provider_id)
        back = page_url("llmprovider", row.pk)
        if request.method != "POST":
            return self.ask(request, _REMOVE, f"{row.name}, {row.model}", back)
        try:
            llm_providers.delete_provider(actor_of(request), row.pk)
        except SettingsRefused as exc:
            messages.error(request, f"{'; '.join(exc.errors.values())}.")
            return self.back_to(request, back)
        return self.gone(request, f"{row.name} is removed.")


def cap_bar(spent: Decimal, cap: Decimal) -> SafeString:
    percent = min(100, round(100 * spent / cap)) if cap else 100
    return format_html(
        '<progress class="sy-progress" max="100" value="{}" aria-label="cost of today">{} %</progress>'
        '<span class="sy-note">{} of {}</span>',
        percent,
        percent,
        dollars(spent, 2) if spent else "$0.00",
        f"${cap:,.2f}",
    )


def _facts(row: LlmProvider) -> list[tuple[str, Any]]:
    uses = Q(provider=row.name) | Q(issue_provider=row.name)
    users = list(Repository.objects.filter(uses).order_by("full_name")[: MOST_REPOSITORIES + 1])
    names = ", ".join(str(one) for one in users[:MOST_REPOSITORIES]) + (", …" if len(users) > MOST_REPOSITORIES else "")
    prices = (row.input_usd_per_million, row.cached_usd_per_million, row.output_usd_per_million)
    price = "; ".join(f"${amount.normalize():f} {what}" for amount, what in zip(prices, _PRICED, strict=True))
    facts: list[tuple[str, Any]] = [
        ("Kind", row.get_kind_display()),
        ("Model", format_html('<span class="sy-break">{}</span>', row.model)),
        ("Address", row.base_url or "the provider's own"),
        ("API key", "set" if row.api_key else "of the environment"),
        ("Request", f"up to {row.context_tokens:,} tokens, {row.max_requests} for a change"),
        ("Answer", f"up to {row.output_tokens:,} tokens"),
        ("Requests a minute", f"{row.requests_per_minute:,}"),
        ("A million tokens", price),
        ("Caps", f"${row.change_cap_usd:,.2f} a change, ${row.daily_cap_usd:,.2f} a day"),
        ("Least confidence", f"{row.min_confidence:g}"),
        ("Used by", format_html('<span class="sy-break">{}</span>', names) if names else "no repository"),
        ("Checked", show.exact(row.checked_at) if row.checked_at else "not yet"),
    ]
    return facts
