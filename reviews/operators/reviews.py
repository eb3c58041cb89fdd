"""Reviews of pull requests: listed, asked for, asked for again, and cancelled."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Collate, Now

from jobs.models import Job
from jobs.models.job import UNFINISHED
from jobs.operators.actors import Actor
from jobs.operators.jobs import JobNotChanged, cancel_job
from jobs.operators.lookups import LARGEST_NUMBER, find
from jobs.operators.search import is_storable
from reviews.github import access
from reviews.github.errors import GitHubError
from reviews.models import FINISHED, Finding, LlmCall, PullRequest, PullRequestReview, ReviewStatus, Trigger
from reviews.operators.lookups import checked_number, repository_named
from reviews.services import pull_requests, requesting
from reviews.services.throttle import Throttled

logger = logging.getLogger(__name__)

REQUEST = "reviews.request_review"
MOST_CALLS = 200


class ReviewRefused(Exception):
    """The pull request is not reviewed; the message says why."""


class ReviewNotChanged(Exception):
    """The review is not in a state that allows it; the message says why."""


@dataclass(frozen=True)
class Asked:
    """The review, its job, and what became of the wish, in words."""

    review: PullRequestReview
    job_id: str
    said: str


def reviews(
    *,
    repository: str = "",
    status: "str | list[str]" = "",
    number: int | None = None,
    provider: str = "",
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> "QuerySet[PullRequestReview]":
    """Those that fit all that is given, with the state of their jobs (`job_state`) and what they told (`told`)."""
    found = _annotated(PullRequestReview.objects.defer("coverage", "config", "step_seconds"))
    if not is_storable(repository + provider) or not (number is None or 0 < number <= LARGEST_NUMBER):
        return found.none()
    conditions = Q()
    if repository:
        conditions &= Q(repository__full_name__iexact=repository)
    if status:
        conditions &= Q(status__in=[status] if isinstance(status, str) else status)
    if number is not None:
        conditions &= Q(number=number)
    if provider:
        conditions &= Q(provider=provider)
    if created_after is not None:
        conditions &= Q(created_at__gte=created_after)
    if created_before is not None:
        conditions &= Q(created_at__lt=created_before)
    return found.filter(conditions)


def find_review(review_id: int) -> PullRequestReview:
    """With its findings and its newest calls of language models. Raises NotHere."""
    calls = LlmCall.objects.select_related("repository").defer("answer").order_by("-created_at", "-id")[:MOST_CALLS]
    rows = _annotated(PullRequestReview.objects).prefetch_related(
        Prefetch("findings", Finding.objects.order_by("path", "line", "pk")),
        Prefetch("llm_calls", calls, to_attr="newest_calls"),
    )
    return find(rows, review_id, "review")


def _annotated(rows: Any) -> "QuerySet[PullRequestReview]":
    # The key of jobs has a collation of its own, which a comparison of two columns must name.
    its_job = Job.objects.filter(pk=Collate(OuterRef("job_id"), "C"))
    posted = Finding.objects.filter(review=OuterRef("pk"), state__in=("posted", "resolved", "dismissed"))
    counted = posted.order_by().values("review").annotate(number=Count("pk")).values("number")
    annotated: QuerySet[PullRequestReview] = rows.select_related("repository", "pull_request").annotate(
        job_state=Subquery(its_job.values("state")[:1]), told=Subquery(counted)
    )
    return annotated


def request_review(actor: Actor, repository: str, number: int, *, full: bool = False) -> Asked:
    """Have a pull request reviewed. full: all of the change, not only what is new since its last review.

    Raises PermissionDenied (reviews.request_review), NotHere, BadReference, ReviewRefused.
    """
    actor.require(REQUEST)
    row = repository_named(repository)
    pull_request = pull_requests.known(row, checked_number(number))
    _look_again(pull_request)
    with transaction.atomic():
        return _ask(actor, pull_request, full=full)


def retry_review(actor: Actor, review_id: int) -> Asked:
    """Have the pull request of a failed review, or of one whose job is gone, reviewed again at its present head.

    Raises PermissionDenied (reviews.request_review), NotHere, ReviewNotChanged, ReviewRefused.
    """
    actor.require(REQUEST)
    review = find_review(review_id)
    if review.status != ReviewStatus.FAILED and not is_stuck(review):
        advice = "ask for another one" if review.status in FINISHED else "it is under way; cancel it first"
        raise ReviewNotChanged(f"review {review.pk} is {review.status}; only a failed one is retried: {advice}")
    row = review.pull_request or pull_requests.known(review.repository, review.number)
    _look_again(row)
    with transaction.atomic():
        return _ask(actor, row, full=review.full)


def _look_again(row: PullRequest) -> None:
    """Of one that is closed as far as we know, ask GitHub: its opening may not have been delivered."""
    if row.state == "open" or row.repository.removed_at is not None:
        return
    try:
        client = access.client_for(row.repository)
        pull_requests.refresh(row, client.pull(row.repository.full_name, row.number))
    except (GitHubError, Throttled) as exc:
        logger.info("Whether %s is open again is not known: %s", row, exc)


def _ask(actor: Actor, row: Any, *, full: bool) -> Asked:
    asked = requesting.request(row, Trigger.OPERATOR, full=full, actor=actor)
    if asked.review is None:
        raise ReviewRefused(f"{row} is not reviewed: {asked.reason}")
    return Asked(find_review(asked.review.pk), asked.job_id, asked.reason)


def cancel_review(actor: Actor, review_id: int, *, force: bool = False) -> PullRequestReview:
    """Cancel an unfinished review through its job; a running one is asked to stop. force: kill it at once.

    Raises PermissionDenied (jobs.cancel_job), NotHere, ReviewNotChanged.
    """
    actor.require("jobs.cancel_job")
    review = find_review(review_id)
    if review.status in FINISHED:
        raise ReviewNotChanged(f"review {review.pk} is {review.status}; only an unfinished one is cancelled")
    with transaction.atomic():
        if not is_stuck(review):
            with suppress(JobNotChanged, Job.DoesNotExist):  # it may end at this moment
                cancel_job(actor, review.job_id, force=force)
        actor.record("review.cancel", str(review), review=review.pk, job=review.job_id)
        if not Job.objects.filter(pk=review.job_id, state__in=UNFINISHED).exists():
            unfinished = PullRequestReview.objects.filter(pk=review.pk).exclude(status__in=FINISHED)
            error = f"cancelled by {actor.name}"[:2000]
            # Its job does not run any more: what it left at GitHub, the sweep takes away.
            left = review.may_be_pending or review.check_run_id is not None
            unfinished.update(status=ReviewStatus.FAILED, finished_at=Now(), error=error, may_be_pending=left)
    return find_review(review_id)


def is_stuck(review: PullRequestReview) -> bool:
    """Whether it is unfinished, and its job will not end it: it failed with its process, was cancelled, or is gone."""
    if review.status in FINISHED:
        return False
    return not Job.objects.filter(pk=review.job_id, state__in=UNFINISHED).exists()
