"""A review's beginning and end: which attempt may run, and what is written down of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from jobs import Snooze
from jobs.models import Job, State
from reviews.models import Finding, FindingState, PullRequest, PullRequestReview, ReviewStatus
from reviews.services import pull_requests, requesting
from reviews.services.payloads import clean_text
from reviews.services.selecting import remember_told
from reviews.services.since import Since

#: How soon a review looks again whether the one before it has come to its end.
WAIT_SECONDS = 5


class ReviewMissing(LookupError):
    """No review of that id is stored."""


class Superseded(Exception):
    """Nobody waits for this review any more; the message says why."""


class HeadMoved(Superseded):
    """There is another head to review."""


class Excluded(Superseded):
    """The settings keep the pull request from being reviewed."""


class Clock:
    """Seconds spent in each step of one attempt."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - start)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = round(self.seconds.get(name, 0) + seconds, 3)


def begin(review_id: int) -> tuple[PullRequestReview, bool]:
    """The review, and whether it is to be run: not if it is done, or superseded.

    Reviews of one pull request run one after the other. Raises ReviewMissing, and Snooze while another one runs.
    """
    review = PullRequestReview.objects.select_related("repository", "pull_request").filter(pk=review_id).first()
    if review is None:
        raise ReviewMissing(f"review {review_id} is not stored; it may have been deleted with its repository")
    if review.status in (ReviewStatus.DONE, ReviewStatus.SUPERSEDED):
        return review, False
    with transaction.atomic():
        row = review.pull_request or pull_requests.known(review.repository, review.number)
        PullRequest.objects.select_for_update().get(pk=row.pk)
        _wait_for_others(review)
        mine = PullRequestReview.objects.filter(pk=review_id)
        mine = mine.exclude(status__in=(ReviewStatus.DONE, ReviewStatus.SUPERSEDED))
        begun = mine.update(
            status=ReviewStatus.RUNNING, started_at=Now(), finished_at=None, error="", untold="", pull_request=row
        )
    review = PullRequestReview.objects.select_related("repository", "pull_request").get(pk=review_id)
    review.pull_request = PullRequest.objects.select_related("repository").get(pk=row.pk)
    return review, bool(begun)


def _wait_for_others(review: PullRequestReview) -> None:
    others = PullRequestReview.objects.filter(
        repository=review.repository, number=review.number, status__in=(ReviewStatus.RUNNING, ReviewStatus.SUPERSEDED)
    )
    jobs = list(others.exclude(pk=review.pk).exclude(job_id="").order_by("-pk").values_list("job_id", flat=True)[:20])
    running = Job.objects.filter(pk__in=jobs, state=State.RUNNING).exclude(pk=review.job_id)
    if jobs and running.exists():
        raise Snooze(WAIT_SECONDS, "an older review of the same pull request has not come to its end")


def check_running(review: PullRequestReview) -> None:
    """Raises Superseded if somebody has ended it meanwhile."""
    status = PullRequestReview.objects.filter(pk=review.pk).values_list("status", "error").first()
    if status is None or status[0] != ReviewStatus.RUNNING:
        raise Superseded((status[1] if status else "it was deleted").removeprefix("superseded: "))


def adopt_head(review: PullRequestReview, head_sha: str) -> None:
    """Take the head of the moment for a review that was asked for without knowing it."""
    row = review.pull_request
    assert row is not None
    with transaction.atomic():
        PullRequest.objects.select_for_update().get(pk=row.pk)
        number = requesting.next_round(review.repository, review.number, head_sha)
        PullRequestReview.objects.filter(pk=review.pk).update(
            head_sha=head_sha, round=number, base_sha=row.base_sha, check_run_id=None
        )
    review.head_sha, review.round, review.base_sha, review.check_run_id = head_sha, number, row.base_sha, None


def end(review: PullRequestReview, status: ReviewStatus, error: str = "", **fields: Any) -> None:
    """Whatever it was before; one that was superseded meanwhile keeps saying why."""
    rows = PullRequestReview.objects.filter(pk=review.pk)
    if status is not ReviewStatus.DONE:
        rows = rows.exclude(status=ReviewStatus.SUPERSEDED)
    rows.update(status=status, finished_at=Now(), error=clean_text(error)[:2000], **fields)
    review.refresh_from_db()


def keep_newest(review: PullRequestReview) -> None:
    """Of reviews that ended for the same reason before they looked at anything, the newest is enough to tell it."""
    same = PullRequestReview.objects.filter(
        repository=review.repository,
        number=review.number,
        status=ReviewStatus.SUPERSEDED,
        error=review.error,
        findings=None,
        coverage={},
        cost_usd=0,
        check_run_id=None,
        github_review_id=None,
        may_be_pending=False,
    )
    same.filter(pk__lt=review.pk).delete()


def postpone(review: PullRequestReview, why: str) -> None:
    """running → pending: its job comes again."""
    running = PullRequestReview.objects.filter(pk=review.pk, status=ReviewStatus.RUNNING)
    running.update(status=ReviewStatus.PENDING, error=clean_text(why)[:2000])


@transaction.atomic
def finish(
    review: PullRequestReview,
    since: Since,
    seconds: dict[str, float],
    comments: dict[int, int],
    *,
    silent: bool = False,
) -> None:
    """running → done: what was posted is known from now on. comments: finding → its comment at GitHub.

    silent: nothing was posted. Raises Snooze where somebody asked for it in the last moment, and so is owed a word.
    """
    assert review.pull_request is not None
    row = PullRequest.objects.select_for_update().get(pk=review.pull_request.pk)
    asked = PullRequestReview.objects.filter(pk=review.pk).exclude(trigger__in=requesting.AUTOMATIC)
    if silent and asked.exists():
        raise Snooze(1, "somebody asked for it meanwhile")
    told = list(review.findings.filter(state__in=(FindingState.NEW, FindingState.POSTED)))
    for finding in told:
        finding.comment_id = comments.get(finding.pk, finding.comment_id)
        finding.state = FindingState.POSTED
    Finding.objects.bulk_update(told, ["comment_id", "state"])
    remember_told(row, review.pk, [(finding.path, finding.fingerprint) for finding in told], since)
    PullRequest.objects.filter(pk=row.pk).update(reviewed_sha=review.head_sha)
    end(review, ReviewStatus.DONE, step_seconds=seconds, untold="")
