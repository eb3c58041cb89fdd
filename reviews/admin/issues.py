"""Issues: what was added to each, by whom and how sure, and the labels that people give."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Collate
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.admin.filters import FixedFilter, note
from jobs.models import Job, State
from reviews.admin.filters import RepositoryFilter
from reviews.models import EnrichmentState, Issue, IssueTag, TagSource
from reviews.services import enriching, issue_labels, issues
from reviews.services.issue_labels import LabelRefused

PILLS = {
    EnrichmentState.WAITING: "scheduled",
    EnrichmentState.QUEUED: "queued",
    EnrichmentState.RUNNING: "running",
    EnrichmentState.DONE: "succeeded",
    EnrichmentState.FAILED: "failed",
}
_SOURCES = {TagSource.HUMAN: "good", TagSource.AI: "running", TagSource.RULE: "queued"}
_ENDED = (State.FAILED, State.CANCELLED, State.DISCARDED)
MOST_AT_ONCE = 100
SHOWN_TAGS = 6


def issue_url(issue: Issue, page: str = "change") -> str:
    return reverse(f"admin:reviews_issue_{page}", args=[issue.pk])


def enrichment_pill(issue: Issue) -> SafeString:
    job_state = getattr(issue, "job_state", None)
    # A job whose process died, or that was cancelled while it waited, could not say so here yet.
    if issue.enrichment_state in (EnrichmentState.QUEUED, EnrichmentState.RUNNING) and job_state in _ENDED:
        return show.pill(f"job {job_state}", str(job_state))
    return show.pill(issue.enrichment_state, PILLS[EnrichmentState(issue.enrichment_state)])


class EnrichmentFilter(FixedFilter):
    title = "enrichment"
    parameter_name = "enrichment_state"
    values = EnrichmentState.values


class StateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "open"), ("closed", "closed")]


class TagFilter(FixedFilter):
    title = "label"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get("tag")
        return [(name, name) for name in dict.fromkeys([*issue_labels.DEFAULT_LABELS, *([given] if given else [])])]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(pk__in=issues.issues(tag=value).values("pk"))


@admin.register(Issue)
class IssueAdmin(ReadOnlyAdmin):
    sidebar_icon = "bug_report"
    list_display = ("enrichment_cell", "issue_cell", "tags_cell", "job_cell", "created_cell")
    list_display_links = None
    list_filter = (EnrichmentFilter, RepositoryFilter, TagFilter, StateFilter)
    search_fields = ("title",)
    search_help_text = "Words of title or body, or a number"
    ordering = ("-created_at", "-id")
    actions = ("enrich_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Issue]:
        # The key of jobs has a collation of its own, which a comparison of two columns must name.
        its_job = Job.objects.filter(pk=Collate(OuterRef("job_id"), "C"))
        found = issues.issues().order_by(*self.ordering)
        return found.annotate(job_state=Subquery(its_job.values("state")[:1]))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Issue], search_term: str
    ) -> tuple[QuerySet[Issue], bool]:
        if not search_term.strip():
            return queryset, False
        return queryset.filter(pk__in=issues.issues(search=search_term).values("pk")), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET":
            counts = issues.enrichment_counts()
            note(
                request,
                f"{counts['failed']:,} failed; {counts['queued'] + counts['running']:,} queued or running; "
                f"{counts['waiting']:,} wait for their minutes of grace, or are switched off.",
            )
        return super().changelist_view(request, extra_context)

    # --- cells ---

    @display(description="Enrichment")
    def enrichment_cell(self, issue: Issue) -> SafeString:
        return enrichment_pill(issue)

    @display(description="Issue")
    def issue_cell(self, issue: Issue) -> SafeString:
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', show.one_line(issue.enrichment_error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            "<span>{}, {}</span></a>{}</div>",
            issue_url(issue),
            show.one_line(issue.title, 90) or "(no title)",
            _name(issue),
            issue.state,
            error if issue.enrichment_state == EnrichmentState.FAILED else "",
        )

    @display(description="Labels")
    def tags_cell(self, issue: Issue) -> SafeString | str:
        present = [tag for tag in issue.tag_rows.all() if not tag.removed]
        pills = format_html_join(" ", "{}", ((_tag_pill(tag),) for tag in present[:SHOWN_TAGS]))
        more = f" and {len(present) - SHOWN_TAGS} more" if len(present) > SHOWN_TAGS else ""
        return format_html("{}{}", pills, more) if present else show.DASH

    @display(description="Job")
    def job_cell(self, issue: Issue) -> SafeString | str:
        return show.job_link(issue.job_id) if issue.job_id else show.DASH

    @display(description="Created")
    def created_cell(self, issue: Issue) -> SafeString | str:
        return show.ago(issue.created_at)

    # --- enriching again ---

    def has_enrich_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reviews.enrich_issue")

    @admin.action(description="Enrich again", permissions=["enrich"])
    def enrich_again(self, request: HttpRequest, queryset: QuerySet[Issue]) -> None:
        ids = [int(key) for key in dict.fromkeys(request.POST.getlist(ACTION_CHECKBOX_NAME)) if key.isdigit()]
        chosen = list(Issue.objects.filter(pk__in=ids)[:MOST_AT_ONCE])
        for issue in chosen:
            enriching.rerun(actor_of(request), issue)
        messages.success(request, f"{len(chosen)} {'issue is' if len(chosen) == 1 else 'issues are'} enriched again.")

    @permission_required("reviews.enrich_issue")
    def enrich_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        issue = self._find(object_id)
        if issue is None:
            return self.to_list(request, f"There is no issue {object_id[:40]!r}.")
        if request.method == "POST":
            again = enriching.rerun(actor_of(request), issue)
            messages.success(request, format_html("It is enriched again by job {}.", show.job_link(again.job_id)))
        return HttpResponseRedirect(issue_url(issue))

    @permission_required("reviews.change_issue")
    def labels_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        issue = self._find(object_id)
        if issue is None:
            return self.to_list(request, f"There is no issue {object_id[:40]!r}.")
        if request.method == "POST":
            self._set_labels(request, issue)
        return HttpResponseRedirect(issue_url(issue))

    def _set_labels(self, request: HttpRequest, issue: Issue) -> None:
        more = [part.strip() for part in request.POST.get("more", "").split(",")]
        wanted = list(dict.fromkeys([*request.POST.getlist("label"), *(name for name in more if name)]))
        # A script need not say what it saw.
        shown = [name for name in request.POST.getlist("shown") if name] if "shown" in request.POST else None
        if shown is not None and set(wanted) == set(shown):
            messages.success(request, "Nothing was changed.")
            return
        try:
            issue_labels.set_labels(actor_of(request), issue, wanted, shown)
            messages.success(request, "The labels are set, and stay so.")
        except LabelRefused as exc:
            messages.error(request, f"{str(exc)[:1].upper()}{str(exc)[1:]}.")

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [
            self.own_path("<path:object_id>/enrich/", self.enrich_view, "enrich"),
            self.own_path("<path:object_id>/labels/", self.labels_view, "labels"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        issue = self._find(object_id)
        if issue is None:
            return self.to_list(request, f"There is no issue {object_id[:40]!r}; it may have been deleted.")
        may_label = request.user.has_perm("reviews.change_issue")
        return self.page(
            request,
            "reviews/issue.html",
            title=show.one_line(issue.title, 120),
            issue=issue,
            pill=enrichment_pill(issue),
            facts=_facts(issue),
            tags=[{"tag": tag, "pill": _tag_pill(tag)} for tag in issue.tag_rows.all()],
            similar=[_similar(one) for one in issues.similar_to(issue)],
            body=show.block(issue.body),
            failed=issue.enrichment_state == EnrichmentState.FAILED,
            enrich_url=issue_url(issue, "enrich") if self.has_enrich_permission(request) else "",
            labels_url=issue_url(issue, "labels") if may_label else "",
            choices=_choices(issue) if may_label else [],
            is_free=issue.repository is None or not issue_labels.known_labels(issue.repository),
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(self.url_of("change", object_id))

    def _find(self, object_id: str) -> Issue | None:
        if not (object_id.isascii() and object_id.isdigit() and len(object_id) < 25):
            return None
        try:
            return issues.find_issue(int(object_id))
        except issues.UnknownIssue:
            return None


def _name(issue: Issue) -> str:
    number = f"#{issue.number}" if issue.number else f"issue {issue.pk}"
    return f"{issue.repository} {number}" if issue.repository else number


def _similar(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "url": issue_url(one["of"]), "name": _name(one["of"])}


def _tag_pill(tag: IssueTag) -> SafeString:
    return show.pill(tag.name, "quiet" if tag.removed else _SOURCES[TagSource(tag.source)])


def _choices(issue: Issue) -> list[dict[str, Any]]:
    """Labels to tick: the repository's, and those that it has."""
    present = issue.tags
    names = dict.fromkeys([*issue_labels.known_labels(issue.repository), *present])
    return [{"name": name, "chosen": name in present} for name in names]


def _facts(issue: Issue) -> list[tuple[str, Any]]:
    link = format_html('<a class="sy-link sy-break" href="{0}" rel="noreferrer">{0}</a>', issue.url)
    facts: list[tuple[str, Any]] = [
        ("Issue", _name(issue)),
        ("At GitHub", link if issue.url.startswith(("https://", "http://")) else ""),
        ("State", issue.state),
        ("Author", show.one_line(issue.author)),
        ("Language", issue.language),
        ("Summary by", issue.summary_source),
        ("Job", show.job_link(issue.job_id) if issue.job_id else ""),
        ("Created", show.exact(issue.created_at)),
        ("Changed", show.exact(issue.updated_at)),
        ("Enriched", show.exact(issue.enriched_at) if issue.enriched_at else ""),
    ]
    return [(name, value) for name, value in facts if value]
