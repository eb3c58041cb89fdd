"""Asking for the review of a pull request: which round, on which lane, in place of which older one."""

import logging
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Now

from jobs.ledger import cancel, states
from jobs.operators.actors import Actor
from reviews.models import FINISHED, PullRequest, PullRequestReview, Repository, ReviewStatus, Trigger
from reviews.services.pull_requests import why_excluded
from reviews.services.repo_config import starting_settings

logger = logging.getLogger(__name__)

#: Who did not ask in person: these obey pauses and exclusions, and review a head once.
AUTOMATIC = (Trigger.OPENED, Trigger.PUSHED)
#: What a large review may take, in seconds; others have what their task says.
LARGE_SECONDS = 600


@dataclass(frozen=True)
class Requested:
    """review: None where none was started; reason: in words, why not, or what was started. job_id: of its job."""

    review: PullRequestReview | None
    reason: str
    job_id: str = ""


@transaction.atomic
def request(
    pull_request: PullRequest,
    trigger: Trigger,
    *,
    asked_by: str = "",
    full: bool = False,
    again: bool = False,
    actor: Actor | None = None,
) -> Requested:
    """Have the present head of a pull request reviewed, in place of unfinished reviews of it.

    trigger: what asked. Opened and pushed obey pauses and exclusions, and review a head once; whoever asks by comment,
    button or as an operator gets a new round. full: all of the change, not only what is new since the last review.
    again: also where nobody asked in person, such as for another base. asked_by: whom to name. A pull request whose
    head is not known is reviewed at the head that it has then.
    Raises PermissionDenied (reviews.request_review) for an actor without it.
    """
    if actor is not None:
        actor.require("reviews.request_review")
    # Reviews of one pull request are asked for one after the other.
    row = PullRequest.objects.select_for_update(of=("self",)).select_related("repository").get(pk=pull_request.pk)
    reason = why_not(row, trigger)
    if reason:
        return Requested(None, reason)
    asked = again or trigger not in AUTOMATIC
    review, reason = _review_of(row, asked=asked, full=full)
    if review is None:
        return Requested(None, reason)
    if actor is not None:
        actor.record("review.request", str(row), full=full, head=row.head_sha)
    if review._state.adding or trigger not in AUTOMATIC:
        # One under way that somebody asks for as well is theirs from now on.
        review.trigger, review.asked_by = trigger, (asked_by or (actor.name if actor else ""))[:150]
        review.full = full or review.full
        review.save()
    _take_over(row, review)
    supersede(row, f"review {review.pk} was asked for", but=review)
    return _send(row, review)


def _take_over(row: PullRequest, review: PullRequestReview) -> None:
    """What somebody asked for, and did not get before a push, is owed at the new head."""
    unfinished = PullRequestReview.objects.filter(repository=row.repository, number=row.number)
    for older in unfinished.exclude(status__in=FINISHED).exclude(pk=review.pk).order_by("-pk"):
        if review.trigger in AUTOMATIC and older.trigger not in AUTOMATIC:
            review.trigger, review.asked_by = older.trigger, older.asked_by
        review.full = review.full or older.full
    PullRequestReview.objects.filter(pk=review.pk).update(
        trigger=review.trigger, asked_by=review.asked_by, full=review.full
    )


def why_not(row: PullRequest, trigger: Trigger) -> str:
    """In words, why a pull request is not reviewed; empty if it is."""
    repository = row.repository
    if repository.removed_at is not None:
        return f"{repository.full_name} is gone from GitHub, or the App from it"
    if not repository.enabled:
        return f"reviews are switched off for {repository.full_name}"
    if row.state != "open":
        return f"the pull request is {row.state[:20]}"
    if trigger not in AUTOMATIC:
        return ""
    if row.paused_at is not None:
        return f"reviews of it were paused by {row.paused_by or 'somebody'}"
    return why_excluded(row, starting_settings(repository))


def _review_of(row: PullRequest, *, asked: bool, full: bool) -> tuple[PullRequestReview | None, str]:
    """The review to run, which may not be stored yet; or None and why there is none."""
    latest = _latest(row)
    if latest is None:
        return _new(row, 1), ""
    if latest.status not in FINISHED and (latest.full or not full):
        return latest, ""
    if latest.status == ReviewStatus.DONE and not asked:
        return None, f"head {row.head_sha[:12]} has been reviewed (review {latest.pk})"
    if latest.status == ReviewStatus.FAILED and (latest.full or not full):
        # The same once more: what it did at GitHub is known under its row.
        PullRequestReview.objects.filter(pk=latest.pk, status=ReviewStatus.FAILED).update(
            status=ReviewStatus.PENDING, finished_at=None, error="", base_sha=row.base_sha
        )
        latest.refresh_from_db()
        return latest, ""
    return _new(row, latest.round + 1), ""


def _latest(row: PullRequest) -> PullRequestReview | None:
    reviews = PullRequestReview.objects.filter(repository=row.repository, number=row.number, head_sha=row.head_sha)
    return reviews.select_for_update().order_by("-round").first()


def _new(row: PullRequest, number: int) -> PullRequestReview:
    return PullRequestReview(
        repository=row.repository,
        pull_request=row,
        number=row.number,
        round=number,
        base_sha=row.base_sha,
        head_sha=row.head_sha,
        title=row.title,
        provider=row.repository.provider,
    )


def next_round(repository: Repository, number: int, head_sha: str) -> int:
    reviews = PullRequestReview.objects.filter(repository=repository, number=number, head_sha=head_sha)
    return int(reviews.aggregate(most=Max("round"))["most"] or 0) + 1


def _send(row: PullRequest, review: PullRequestReview) -> Requested:
    from reviews.tasks import run_pr_review  # tasks call services

    lane = "slow_lane" if row.repository.is_large(row.changed_files, row.changed_lines) else "fast_lane"
    limits = {"soft_time_limit": LARGE_SECONDS, "time_limit": LARGE_SECONDS + 120} if lane == "slow_lane" else {}
    sent = run_pr_review.apply_async(kwargs={"review_id": review.pk}, queue=lane, **limits)
    folded = bool(getattr(sent, "folded", False))
    fields = {"job_id": sent.id, "pull_request": row} | ({} if folded else {"lane": lane})
    PullRequestReview.objects.filter(pk=review.pk).update(**fields)
    review.refresh_from_db()
    said = f"job {sent.id}{' (already waiting)' if folded else ''}: review {review.pk} on {review.lane or lane}"
    return Requested(review, said, sent.id)


@transaction.atomic
def supersede(row: PullRequest, why: str, but: PullRequestReview | None = None) -> int:
    """End the unfinished reviews of a pull request: waiting jobs are discarded, running ones asked to stop.

    Returns how many there were. One that is being submitted at this moment is posted all the same.
    """
    unfinished = PullRequestReview.objects.filter(repository=row.repository, number=row.number)
    unfinished = unfinished.exclude(status__in=FINISHED)
    if but is not None:
        unfinished = unfinished.exclude(pk=but.pk)
    ended = list(unfinished.select_for_update().order_by("pk"))
    for review in ended:
        PullRequestReview.objects.filter(pk=review.pk).update(
            status=ReviewStatus.SUPERSEDED, finished_at=Now(), error=f"superseded: {why}"[:2000]
        )
        is_over = _stop_job(review.job_id, why) if review.job_id else False
        if is_over and review.check_run_id is not None:
            PullRequestReview.objects.filter(pk=review.pk).update(may_be_pending=True)
    return len(ended)


def _stop_job(job_id: str, why: str) -> bool:
    """Whether it was waiting, so that it ends nothing at GitHub any more: the sweep does."""
    with connection.cursor() as cursor:
        if states.discard(cursor, job_id, f"superseded: {why}"[:1000]):
            return True
        cancel.request(cursor, job_id, f"superseded: {why}"[:1000], cancel.Mode.ASKED)
    return False
