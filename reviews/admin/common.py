"""What the pages of reviews share: what refuses, pills and addresses."""

from typing import Any
from urllib.parse import quote

from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import show
from jobs.admin.service_pages import ServiceAdmin, link
from jobs.models import State
from jobs.operators.lookups import NotHere
from jobs.operators.settings import SettingsRefused
from reviews.github.errors import GitHubError
from reviews.models import IndexState, PullRequestReview, ReplyStatus, Repository, ReviewStatus
from reviews.operators.findings import FindingNotChanged
from reviews.operators.lookups import BadReference
from reviews.operators.reviews import ReviewNotChanged, ReviewRefused
from reviews.services.code_index import IndexRefused
from reviews.services.delivery_sweep import NotRedelivered
from reviews.services.issue_importing import UnknownRepository
from reviews.services.throttle import Throttled

#: What services say no with; each tells why, and what to do.
REFUSALS = (
    BadReference,
    FindingNotChanged,
    GitHubError,
    IndexRefused,
    NotHere,
    NotRedelivered,
    ObjectDoesNotExist,
    ReviewNotChanged,
    ReviewRefused,
    SettingsRefused,
    Throttled,
    UnknownRepository,
)
ENDED = (State.FAILED, State.CANCELLED, State.DISCARDED)
SEVERITIES = {"high": "bad", "medium": "queued", "low": "quiet"}
INDEX_PILLS = {
    IndexState.NONE: "quiet",
    IndexState.QUEUED: "queued",
    IndexState.RUNNING: "running",
    IndexState.READY: "good",
    IndexState.FAILED: "bad",
}
REPLY_PILLS = {
    ReplyStatus.PENDING: "queued",
    ReplyStatus.RUNNING: "running",
    ReplyStatus.DONE: "good",
    ReplyStatus.IGNORED: "quiet",
    ReplyStatus.FAILED: "bad",
}
_REVIEW_PILLS = {
    ReviewStatus.PENDING: "queued",
    ReviewStatus.RUNNING: "running",
    ReviewStatus.DONE: "succeeded",
    ReviewStatus.SUPERSEDED: "discarded",
    ReviewStatus.FAILED: "failed",
}


class ReviewsAdmin(ServiceAdmin):
    refusals = REFUSALS


def page_url(model: str, pk: Any, page: str = "change") -> str:
    return reverse(f"admin:reviews_{model}_{page}", args=[pk])


def review_url(review: PullRequestReview, page: str = "change") -> str:
    return page_url("pullrequestreview", review.pk, page)


def repository_link(request: HttpRequest, repository: Repository | None) -> SafeString | str:
    if repository is None:
        return show.DASH
    if not request.user.has_perm("reviews.view_repository"):
        return repository.full_name
    return link(page_url("repository", repository.pk), repository.full_name)


def review_pill(review: PullRequestReview) -> SafeString:
    # A job whose process died, or that was cancelled while it waited, could not say so here.
    job_state = getattr(review, "job_state", None)
    if review.status in (ReviewStatus.PENDING, ReviewStatus.RUNNING) and job_state in ENDED:
        return show.pill(f"job {job_state}", str(job_state))
    return show.pill(review.status, _REVIEW_PILLS[ReviewStatus(review.status)])


def status_pill(status: str) -> SafeString:
    return show.pill(status, _REVIEW_PILLS[ReviewStatus(status)])


def took(review: PullRequestReview) -> str:
    if review.started_at is None or review.finished_at is None:
        return show.DASH
    return show.duration_text(review.finished_at - review.started_at)


def dollars(amount: Any, digits: int = 4) -> str:
    """ "$0.0031"; a dash for nothing."""
    return f"${amount:,.{digits}f}" if amount else show.DASH


def at_github(repository: Repository, path: str, text: str) -> SafeString | str:
    """A link to a page of the repository at its GitHub; path: such as "pull/7"."""
    from django.conf import settings

    from reviews.github.git_access import web_url

    api_url = repository.access.api_url if repository.access is not None else settings.GITHUB["API_URL"]
    if not str(api_url).startswith(("https://", "http://")):
        return text
    address = f"{web_url(api_url)}/{quote(repository.full_name)}/{path}".rstrip("/")
    return format_html('<a class="sy-link" href="{}" rel="noreferrer">{}</a>', address, text)
