"""What jobs did outside: the uncertain first, for which a person decides."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.admin.filters import FixedFilter, note
from jobs.models import Effect, EffectState, Job
from jobs.operators import effects as operators

PILLS = {
    EffectState.INTENDED: "quiet",
    EffectState.TRIED: "running",
    EffectState.DONE: "good",
    EffectState.UNCERTAIN: "bad",
    EffectState.FAILED: "scheduled",
}
MOST_OF_A_JOB = 50


def effect_pill(effect: Effect) -> SafeString:
    text = "did not happen" if effect.state == EffectState.FAILED else effect.state
    return show.pill(text, PILLS[EffectState(effect.state)])


def effects_of(request: HttpRequest, job: Job) -> list[dict[str, Any]]:
    """What a job's page shows of its effects; nothing to those who may not see any."""
    if not request.user.has_perm("jobs.view_effect"):
        return []
    found = operators.effects().filter(job_id=job.pk).order_by("created_at", "id")[:MOST_OF_A_JOB]
    return [
        {"effect": effect, "pill": effect_pill(effect), "url": _url(effect), "created": show.ago(effect.created_at)}
        for effect in found
    ]


def _url(effect: Effect, page: str = "change") -> str:
    return reverse(f"admin:jobs_effect_{page}", args=[effect.pk])


class EffectStateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, "did not happen" if state == "failed" else state.value) for state in EffectState]


class KindFilter(FixedFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = ["comment", "mail", "selftest"]
        given = request.GET.get("kind")
        return [(kind, kind) for kind in dict.fromkeys([*known, *([given] if given else [])])]


class CopiesFilter(FixedFilter):
    title = "copies"
    parameter_name = "copies"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("doubled", "found twice")]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(copies__gt=1)


@admin.register(Effect)
class EffectAdmin(ReadOnlyAdmin):
    list_display = ("state_cell", "effect_cell", "target_cell", "tries_cell", "job_cell", "created_cell")
    list_display_links = None
    list_filter = (EffectStateFilter, KindFilter, CopiesFilter)
    search_fields = ("key",)
    search_help_text = "Beginning of a key"
    ordering = ("-is_uncertain", "-created_at", "-id")
    actions = ("decide_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Effect]:
        return operators.effects().order_by(*self.ordering)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Effect | None:
        try:
            return operators.find_effect(int(object_id))
        except (ValueError, Effect.DoesNotExist):
            return None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Effect], search_term: str
    ) -> tuple[QuerySet[Effect], bool]:
        term = search_term.strip()
        return (operators.with_key(queryset, term) if term else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET":
            figures = operators.effect_figures()
            note(
                request,
                f"{figures.uncertain:,} uncertain, which wait for a person; {figures.tried:,} under way or cut off; "
                f"{figures.doubled:,} found twice at the far side.",
            )
        return super().changelist_view(request, extra_context)

    # --- cells ---

    @display(description="State")
    def state_cell(self, effect: Effect) -> SafeString:
        return effect_pill(effect)

    @display(description="Effect")
    def effect_cell(self, effect: Effect) -> SafeString:
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', show.one_line(effect.error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong>{}</strong><code title="{}">{}</code></a>'
            "{}</div>",
            _url(effect),
            effect.kind,
            effect.key,
            show.one_line(effect.key, 40),
            error if effect.error else "",
        )

    @display(description="Target")
    def target_cell(self, effect: Effect) -> SafeString | str:
        return format_html('<span class="sy-break">{}</span>', show.one_line(effect.target, 60)) or show.DASH

    @display(description="Tries")
    def tries_cell(self, effect: Effect) -> str:
        return str(effect.attempts)

    @display(description="Job")
    def job_cell(self, effect: Effect) -> SafeString | str:
        return show.job_link(effect.job_id) if effect.job_id else show.DASH

    @display(description="Created")
    def created_cell(self, effect: Effect) -> SafeString | str:
        return show.ago(effect.created_at)

    # --- deciding ---

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.decide_effect")

    @admin.action(description="Decide whether they happened", permissions=["decide"])
    def decide_selected(self, request: HttpRequest, queryset: QuerySet[Effect]) -> HttpResponse:
        ids = [int(key) for key in dict.fromkeys(request.POST.getlist(ACTION_CHECKBOX_NAME)) if key.isdigit()]
        return self._decide(request, ids, request.get_full_path())

    @permission_required("jobs.decide_effect")
    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        effect = self.object_or_none(request, object_id)
        if effect is None:
            return self.to_list(request, f"There is no effect {object_id!r}.")
        back = _url(effect) if self.has_view_permission(request) else reverse("admin:index")
        return self._decide(request, [effect.pk], back)

    def _decide(self, request: HttpRequest, ids: list[int], back: str) -> HttpResponse:
        """Ask first; act when the answer comes back."""
        answer = request.POST.get("answer")
        if answer not in ("happened", "not-happened"):
            chosen = list(operators.effects().filter(pk__in=ids).order_by(*self.ordering)[:100])
            return self.page(
                request,
                "jobs/effect_decide.html",
                title="Did it happen?" if len(ids) == 1 else f"Did these {len(ids)} happen?",
                effects=[{"effect": effect, "pill": effect_pill(effect)} for effect in chosen],
                ids=ids,
                checkbox_name=ACTION_CHECKBOX_NAME,
                may_retry=request.user.has_perm("jobs.retry_job"),
                back=back,
            )
        decided, skipped = operators.decide_each(
            actor_of(request),
            ids,
            answer == "happened",
            request.POST.get("reason", ""),
            request.POST.get("retry") == "yes" and request.user.has_perm("jobs.retry_job"),
        )
        retried = sum(one.job_retried for one in decided)
        text = f"{len(decided)} decided, {retried} {'job' if retried == 1 else 'jobs'} retried"
        if skipped:
            text += f"; {len(skipped)} not: {'; '.join(skipped[:3])}"
        messages.add_message(request, messages.WARNING if skipped else messages.SUCCESS, f"{text}.")
        return HttpResponseRedirect(back)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("<path:object_id>/decide/", self.decide_view, "decide"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        effect = self.object_or_none(request, object_id)
        if effect is None:
            return self.to_list(request, f"There is no effect {object_id!r}; it may have been pruned.")
        may_decide = effect.state == EffectState.UNCERTAIN and self.has_decide_permission(request)
        return self.page(
            request,
            "jobs/effect.html",
            title=f"{effect.kind} effect",
            effect=effect,
            pill=effect_pill(effect),
            facts=_facts(effect),
            receipt=None if effect.receipt is None else show.pretty_json(effect.receipt),
            decide_url=_url(effect, "decide") if may_decide else "",
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(self.url_of("change", object_id))


def _facts(effect: Effect) -> list[tuple[str, Any]]:
    copies = "" if effect.copies is None else f"{effect.copies} when they were counted"
    facts: list[tuple[str, Any]] = [
        ("Key", format_html('<code class="sy-break">{}</code>', effect.key)),
        ("Target", format_html('<span class="sy-break">{}</span>', effect.target) if effect.target else ""),
        ("Identity", format_html('<code class="sy-break">{}</code>', effect.identity)),
        ("Job", show.job_link(effect.job_id, effect.job_id) if effect.job_id else ""),
        ("Tries", str(effect.attempts)),
        ("Written down", show.exact(effect.created_at)),
        ("Last try", show.exact(effect.tried_at) if effect.tried_at else ""),
        ("Its deadline", show.exact(effect.deadline_at) if effect.deadline_at else ""),
        ("Done", show.exact(effect.done_at) if effect.done_at else ""),
        ("Copies at the far side", copies),
        ("Will be counted", show.exact(effect.check_at) if effect.check_at else ""),
        ("Decided", show.exact(effect.decided_at) if effect.decided_at else ""),
        ("Decided by", effect.decided_by),
        ("Reason", effect.decision_reason),
    ]
    return [(name, value) for name, value in facts if value]
