"""What a repository's page shows: facts, settings in words, links and its last reviews."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import show
from jobs.admin.service_pages import line
from reviews.admin.common import INDEX_PILLS, at_github, page_url, review_pill, review_url
from reviews.models import CodeIndex, IndexState, PullRequestReview, Repository
from reviews.operators import issue_learning


def enabled_pill(repository: Repository) -> SafeString:
    if repository.removed_at is not None:
        return show.pill("gone", "quiet")
    return show.pill("on", "good") if repository.enabled else show.pill("off", "quiet")


def _index_of(repository: Repository) -> CodeIndex | None:
    return getattr(repository, "code_index", None)


def index_pill(repository: Repository) -> SafeString:
    if not repository.index_enabled:
        return show.pill("off", "quiet")
    index = _index_of(repository)
    state = IndexState(index.state) if index is not None else IndexState.NONE
    return show.pill(state.value, INDEX_PILLS[state])


def review_row(review: PullRequestReview) -> dict[str, Any]:
    told = getattr(review, "told", None) or 0
    return {
        "review": review,
        "pill": review_pill(review),
        "url": review_url(review),
        "title": line(review.title, 80) or "(no title)",
        "findings": show.DASH if review.finding_count is None else f"{told} of {review.finding_count}",
        "at": show.ago(review.created_at),
    }


def links_of(request: HttpRequest, row: Repository) -> list[dict[str, Any]]:
    user = request.user
    links = []
    if user.has_perm("reviews.change_repository"):
        links.append(("Settings", page_url("repository", row.pk, "edit")))
    if user.has_perm("reviews.request_review"):
        ask = reverse("admin:reviews_pullrequestreview_request")
        links.append(("Ask for a review", f"{ask}?{urlencode({'pr': f'{row.full_name}#'})}"))
    if user.has_perm("reviews.index_repository") and row.index_enabled and row.removed_at is None:
        links.append(("Index now", page_url("repository", row.pk, "index")))
    if user.has_perm(issue_learning.PERMISSION) and row.github_id and row.removed_at is None:
        links.append(("Import issues", page_url("repository", row.pk, "import_issues")))
        links.append(("Learn labels", page_url("repository", row.pk, "learn_labels")))
    for label, model, permission in (
        ("Reviews", "pullrequestreview", "reviews.view_pullrequestreview"),
        ("Issues", "issue", "reviews.view_issue"),
        ("Deliveries", "delivery", "reviews.view_delivery"),
    ):
        if user.has_perm(permission):
            page = reverse(f"admin:reviews_{model}_changelist")
            links.append((label, f"{page}?{urlencode({'repository': row.full_name})}"))
    if user.has_perm("reviews.delete_repository"):
        links.append(("Forget", page_url("repository", row.pk, "remove")))
    return [{"label": label, "url": url} for label, url in links]


def facts_of(row: Repository) -> list[tuple[str, Any]]:
    index = _index_of(row)
    indexed: Any = index_pill(row)
    if index is not None and index.indexed_at:
        indexed = format_html("{} {}", indexed, show.ago(index.indexed_at))
    facts: list[tuple[str, Any]] = [
        ("At GitHub", at_github(row, "", row.full_name)),
        ("GitHub's id", str(row.github_id) if row.github_id else "not known yet"),
        ("GitHub access", str(row.access or "the environment's token")),
        ("Installed on", row.installation.account_login if row.installation else ""),
        ("Default branch", row.default_branch),
        ("Private", "yes" if row.private else "no"),
        ("Code index", indexed),
        ("Gone since", show.exact(row.removed_at) if row.removed_at else ""),
        ("Entered", show.exact(row.created_at)),
    ]
    return [(name, value) for name, value in facts if value]


def settings_of(row: Repository) -> list[tuple[str, Any]]:
    """The settings that decide most, in words."""
    excluded = [
        *("" if row.review_drafts else "drafts", "" if row.review_bots else "what bots open"),
        *(f"label {name}" for name in row.excluded_labels),
        *(f"title {name}" for name in row.excluded_titles),
        *(f"author {name}" for name in row.excluded_authors),
    ]
    caps = [(row.change_cap_usd, "a change"), (row.daily_cap_usd, "a day")]
    settings: list[tuple[str, Any]] = [
        ("Reviewer", row.provider),
        ("Others allowed", ", ".join(row.providers_allowed) or "none"),
        ("Posted", f"up to {row.finding_budget} findings on a change, {row.severity_floor} and above"),
        ("Left out", ", ".join(filter(None, excluded)) or "nothing"),
        ("Paths not read", ", ".join(row.excluded_paths)),
        ("Large", f"more than {row.large_files:,} files or {row.large_lines:,} lines"),
        ("Caps", ", ".join(f"${amount} {what}" for amount, what in caps if amount is not None) or "the provider's"),
        ("Language", row.language),
        ("Issues", f"enriched, {row.issue_provider}" if row.issues_enabled else "not enriched"),
    ]
    return [
        (name, format_html('<span class="sy-break">{}</span>', line(value, 400))) for name, value in settings if value
    ]
