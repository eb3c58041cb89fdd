"""What lost answers and killed jobs left behind: pending reviews, reviews that ended unheard, failures untold."""

import logging
from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from jobs import Snooze
from jobs.ledger.errors import JobCancelled
from jobs.models import Job, State
from reviews.github import access
from reviews.github.errors import GitHubError
from reviews.models import FINISHED, PullRequestReview, ReviewStatus
from reviews.services import check_runs, notices, posting, review_states, reviewing

logger = logging.getLogger(__name__)

#: GitHub is asked about so many in one run.
BATCH = 50
#: A failure that could not be told by then is old news.
TELL_FOR = timedelta(days=1)
_ENDED = (State.FAILED, State.CANCELLED, State.DISCARDED, State.SUCCEEDED)


def sweep() -> dict[str, Any]:
    """Delete what was left pending, end reviews whose jobs ended without a word, and tell failures that could not be.

    Of those that stand at GitHub nothing is told: people have read them, and they are done.

    Returns how many of each.
    """
    counts = {"ended": 0, "told": 0, "deleted": 0, "put_off": 0}
    for review in _unheard():
        counts["ended"] += _end(review)
    for review in _untold():
        counts["told"] += _tell(review)
    left = PullRequestReview.objects.select_related("repository", "pull_request").filter(
        may_be_pending=True, status__in=FINISHED, repository__removed_at=None
    )
    # In no order, so that those which GitHub never lets go do not keep others waiting.
    for review in left.order_by("?")[:BATCH]:
        try:
            counts["deleted"] += _clean(review)
        except (GitHubError, Snooze) as exc:
            counts["put_off"] += 1
            logger.info("Review %s may still be pending at GitHub: %s", review.pk, exc)
    return counts


def _unheard() -> list[PullRequestReview]:
    """Unfinished reviews whose jobs are over: killed too often, cancelled while they waited, or given up."""
    unfinished = PullRequestReview.objects.select_related("repository", "pull_request").exclude(status__in=FINISHED)
    waiting = unfinished.exclude(job_id="").order_by("pk")[:1000]
    jobs = {review.job_id: review for review in waiting}
    over = Job.objects.filter(Q(pk__in=jobs) & Q(state__in=_ENDED)).values_list("pk", flat=True)
    return [jobs[pk] for pk in over][:BATCH]


def _end(review: PullRequestReview) -> int:
    job = Job.objects.filter(pk=review.job_id).first()
    if job is None or job.state not in _ENDED:  # retried meanwhile
        return 0
    why = f"its job ended as {job.state}" + (f": {job.error}" if job.error else "")
    untold = "its job ended before it was done" if job.state == State.FAILED else ""
    # Who tells of the failure ends the check run, too, and says why.
    left = review.may_be_pending or (review.check_run_id is not None and not untold)
    review_states.end(review, ReviewStatus.FAILED, error=why, untold=untold, may_be_pending=left)
    return 1


def _clean(review: PullRequestReview) -> int:
    """Take away what stands pending, and end the check run that nobody ended. Raises GitHubError, Throttled."""
    client = access.client_for(review.repository)
    deleted = posting.remove_pending(client, review)
    if review.status == ReviewStatus.SUPERSEDED:
        check_runs.end(client, review, "cancelled", review.error.capitalize(), "")
    elif review.status == ReviewStatus.FAILED:
        check_runs.end(client, review, "failure", "The review failed", "")
    return int(deleted)


def _untold() -> list[PullRequestReview]:
    """Failures of the last day that nobody was told of; where a newer review followed, nobody needs to be."""
    failed = PullRequestReview.objects.filter(status=ReviewStatus.FAILED).exclude(untold="")
    newer = PullRequestReview.objects.filter(
        repository=OuterRef("repository"), number=OuterRef("number"), pk__gt=OuterRef("pk")
    )
    fresh = failed.filter(finished_at__gt=Now() - TELL_FOR, repository__removed_at=None).exclude(Exists(newer))
    return list(fresh.select_related("repository", "pull_request").order_by("pk")[:BATCH])


def _tell(review: PullRequestReview) -> int:
    """Whether it could be told now."""
    try:
        client = access.client_for(review.repository)
        if reviewing.settle(client, review):
            return 0
        notices.tell_failure(client, review)
        check_runs.end(client, review, "failure", f"The review failed: {review.untold}", "")
    except JobCancelled:
        raise
    except Exception as exc:
        # The next ones are looked after all the same.
        logger.warning("The failure of review %s is told later: %s", review.pk, exc)
        return 0
    return 1
