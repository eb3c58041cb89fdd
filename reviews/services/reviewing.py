"""Reviews one pull request at one head: fetch, review, post."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from jobs import job
from jobs.ledger.errors import JobCancelled
from reviews import models
from reviews.changes import Change
from reviews.clients import GitHubClient, GitHubRefused, PullRequest
from reviews.github_source import pull_request_change
from reviews.models import PullRequestReview, ReviewStatus
from reviews.providers import provider_named
from reviews.providers.base import FINDING_BUDGET, ReviewResult
from reviews.services import posting
from reviews.services.payloads import clean_text

KEPT_UNREAD_FILES = 200


class ReviewMissing(LookupError):
    """No review of that id is stored."""


class _Superseded(Exception):
    """Nobody waits for this review any more; the message says why."""


def run(review_id: int, *, last_attempt: bool) -> dict[str, Any]:
    """Review and post; a summary for the job's result.

    last_attempt: whether an error is the end of it; GitHubRefused always is. Raises ReviewMissing, GitHubError,
    ProviderFailed.
    """
    review = PullRequestReview.objects.select_related("repository").filter(pk=review_id).first()
    if review is None:
        raise ReviewMissing(f"review {review_id} is not stored; it may have been deleted with its repository")
    began = PullRequestReview.objects.filter(pk=review_id).exclude(status=ReviewStatus.DONE)
    if not began.update(status=ReviewStatus.RUNNING, started_at=Now(), finished_at=None, error=""):
        return _summary(review, "posted before")
    try:
        return _run(review)
    except _Superseded as exc:
        _end(review, ReviewStatus.SUPERSEDED, error=str(exc))
        return _summary(review, f"superseded: {exc}")
    except JobCancelled:
        _end(review, ReviewStatus.FAILED, error="its job was cancelled")
        raise
    except Exception as exc:
        error = clean_text(f"{type(exc).__name__}: {exc}")[:2000]
        if last_attempt or isinstance(exc, GitHubRefused):
            _end(review, ReviewStatus.FAILED, error=error)
        else:
            PullRequestReview.objects.filter(pk=review.pk).update(status=ReviewStatus.PENDING, error=error)
        raise


def _run(review: PullRequestReview) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    client = _client()
    with _timed(seconds, "fetch"):
        job.progress(0.05, "fetching the change")
        pull = _wanted_pull(client, review)
        change = pull_request_change(client, review.repository.full_name, pull)
    with _timed(seconds, "review"):
        provider = provider_named(review.repository.provider)
        found = provider.review(change, lambda fraction, note: job.progress(0.1 + 0.7 * fraction, note))
        result = found.within(FINDING_BUDGET)
        _store(review, change, result)
    with _timed(seconds, "post"):
        job.progress(0.9, "posting")
        _wanted_pull(client, review)
        posted = posting.post_once(client, review, change, result)
    _end(
        review,
        ReviewStatus.DONE,
        github_review_id=posted,
        title=clean_text(pull.title)[:500],
        step_seconds=seconds,
    )
    return _summary(review, "posted")


def _client() -> GitHubClient:
    token = settings.GITHUB["TOKEN"]
    if not token:
        raise GitHubRefused("no token for GitHub is set; set GITHUB_TOKEN, then retry the job")
    return GitHubClient(settings.GITHUB["API_URL"], token)


def _wanted_pull(client: GitHubClient, review: PullRequestReview) -> PullRequest:
    """The pull request, if its head is still the one to review. Raises _Superseded, GitHubError."""
    pull = client.pull(review.repository.full_name, review.number)
    if pull.head_sha != review.head_sha:
        raise _Superseded(f"the head moved on from {review.head_sha[:12]} to {pull.head_sha[:12]}")
    if pull.state != "open":
        raise _Superseded(f"the pull request is {pull.state[:20]}")
    return pull


@transaction.atomic
def _store(review: PullRequestReview, change: Change, result: ReviewResult) -> None:
    """Keep what was found, in place of what an earlier attempt found."""
    _, elsewhere = posting.sort_findings(change, result)
    review.findings.all().delete()
    models.Finding.objects.bulk_create(
        models.Finding(
            review=review,
            path=clean_text(found.path),
            line=found.line,
            end_line=found.end_line,
            rule=found.rule,
            message=clean_text(found.message),
            severity=found.severity.value,
            source_line=clean_text(found.source_line),
            fingerprint=found.fingerprint,
            anchored=found not in elsewhere,
        )
        for found in result.findings
    )
    PullRequestReview.objects.filter(pk=review.pk).update(
        provider=result.provider,
        finding_count=len(result.findings) + result.left_out,
        coverage=_coverage(result),
    )


def _coverage(result: ReviewResult) -> dict[str, Any]:
    return {
        "files": len(result.coverage),
        "read": len(result.coverage) - len(result.not_read),
        "not_read": [
            {"path": clean_text(file.path), "reason": clean_text(file.reason)}
            for file in result.not_read[:KEPT_UNREAD_FILES]
        ],
        "notes": list(result.notes),
    }


def _end(review: PullRequestReview, status: ReviewStatus, **fields: Any) -> None:
    PullRequestReview.objects.filter(pk=review.pk).update(status=status, finished_at=Now(), **fields)
    review.refresh_from_db()


def _summary(review: PullRequestReview, outcome: str) -> dict[str, Any]:
    return {
        "review": review.pk,
        "outcome": outcome,
        "findings": review.finding_count,
        "github_review_id": review.github_review_id,
    }


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - start, 3)
