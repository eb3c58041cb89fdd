"""Posts a review once: pending first, which GitHub allows each account one of, then submitted.

Both steps are outside effects: written down before they are tried, and looked up by the review's marker before they
are tried again. What is to be posted is written down with the first step, so a later attempt posts the very same.
"""

import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import F, Q

from jobs import effects
from jobs.ledger.errors import Snooze
from jobs.models import Effect
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError
from reviews.github.shapes import PostedReview
from reviews.models import PullRequestReview, ReviewStatus
from reviews.services import rendering

logger = logging.getLogger(__name__)
T = TypeVar("T")

KIND = "github-review"
PENDING = "PENDING"
UNPROCESSABLE = 422
NOT_FOUND = 404
TIMEOUT_SECONDS = 60
#: A review that was given up at GitHub so often is not posted again.
MAX_POSTINGS = 4
_UNCLEAR = (408, 409)


def is_begun(review: PullRequestReview) -> bool:
    """Whether what is to be posted has been written down: then it is posted as it is, and nothing is reviewed anew."""
    return Effect.objects.filter(key=_key(review, "create")).exists()


def submitted(client: GitHubClient, review: PullRequestReview) -> int | None:
    """Its id at GitHub, if an attempt that was cut off has published it. Raises GitHubError."""
    found = find(client, review) if is_begun(review) else None
    return found.id if found is not None and found.state != PENDING else None


def cut_off(review: PullRequestReview) -> list[PullRequestReview]:
    """Other reviews of its pull request that ended in the midst of being posted: they may stand at GitHub."""
    others = PullRequestReview.objects.filter(
        Q(may_be_pending=True) | Q(github_review_id__isnull=False),
        repository=review.repository,
        number=review.number,
        status__in=(ReviewStatus.SUPERSEDED, ReviewStatus.FAILED),
    )
    return list(others.exclude(pk=review.pk).select_related("repository", "pull_request").order_by("pk"))


def stored_request(review: PullRequestReview) -> dict[str, Any]:
    """What was written down to be posted. Raises LookupError."""
    effect = Effect.objects.filter(key=_key(review, "create")).first()
    if effect is None or effect.request is None:
        raise LookupError(f"nothing was written down to be posted for review {review.pk}")
    return dict(json.loads(bytes(effect.request)))


def create(client: GitHubClient, review: PullRequestReview, request: dict[str, Any]) -> tuple[int, str]:
    """Make the review pending at GitHub: (its id, its state), which is another one where an answer was lost.

    request: body and comments; what was written down first counts. Raises GitHubError, and what effects raise.
    """
    PullRequestReview.objects.filter(pk=review.pk).update(may_be_pending=True)
    receipt = refusals(
        lambda: effects.once(
            _key(review, "create"),
            lambda attempt: _create(client, review, attempt),
            kind=KIND,
            target=_target(review),
            look_up=lambda identity: _found(client, review),
            look_first=True,
            timeout_seconds=TIMEOUT_SECONDS,
            request=json.dumps(request).encode(),
            context={"review": review.pk},
        )
    )
    state = str(receipt["state"])
    PullRequestReview.objects.filter(pk=review.pk).update(
        github_review_id=receipt["id"], may_be_pending=state == PENDING
    )
    return int(receipt["id"]), state


def submit(client: GitHubClient, review: PullRequestReview, review_id: int) -> int:
    """Publish the pending review; its id. Raises GitHubError, with status 404 or 422 where it is not there."""
    receipt = refusals(
        lambda: effects.once(
            _key(review, "submit"),
            lambda attempt: _submit(client, review, review_id, attempt),
            kind=KIND,
            target=_target(review),
            look_up=lambda identity: _submitted(client, review, review_id),
            timeout_seconds=TIMEOUT_SECONDS,
            context={"review": review.pk},
        )
    )
    PullRequestReview.objects.filter(pk=review.pk).update(may_be_pending=False, github_review_id=receipt["id"])
    return int(receipt["id"])


def give_up(review: PullRequestReview) -> None:
    """What stood at GitHub is gone, or was never taken: the next posting is one of its own."""
    PullRequestReview.objects.filter(pk=review.pk).update(
        postings=F("postings") + 1, may_be_pending=False, github_review_id=None
    )
    review.refresh_from_db()


def remove_pending(client: GitHubClient, review: PullRequestReview) -> bool:
    """Throw away what stands of this review at GitHub without having been submitted. Whether there was anything."""
    found = find(client, review)
    if found is not None and found.state != PENDING:
        PullRequestReview.objects.filter(pk=review.pk).update(may_be_pending=False, github_review_id=found.id)
        return False
    if found is not None:
        _delete(client, review, found.id)
    give_up(review)
    return found is not None


def find(client: GitHubClient, review: PullRequestReview) -> PostedReview | None:
    """The review at GitHub, by its marker. A marker that somebody else copied does not count."""
    mark = rendering.marker(review)
    ours = client.identity().login.lower()
    for posted in client.reviews(review.repository.full_name, review.number):
        if mark in posted.body and posted.author.lower() == ours:
            return posted
    return None


def _key(review: PullRequestReview, step: str) -> str:
    return f"review:{review.pk}:{review.postings}:{step}"


def _target(review: PullRequestReview) -> str:
    # Not by its name, which may change between two attempts.
    return f"repository {review.repository_id}, pull request {review.number}"


def _found(client: GitHubClient, review: PullRequestReview) -> dict[str, Any] | None:
    found = find(client, review)
    return None if found is None else {"id": found.id, "state": found.state}


def _submitted(client: GitHubClient, review: PullRequestReview, review_id: int) -> dict[str, Any] | None:
    for posted in client.reviews(review.repository.full_name, review.number):
        if posted.id == review_id and posted.state != PENDING:
            return {"id": posted.id}
    return None


def _create(client: GitHubClient, review: PullRequestReview, attempt: effects.Try) -> dict[str, Any]:
    request = json.loads(attempt.request or b"{}")
    attempt.check()
    made = told(
        lambda: client.create_pending_review(
            review.repository.full_name,
            review.number,
            head_sha=review.head_sha,
            body=request["body"],
            comments=request["comments"],
        )
    )
    return {"id": made, "state": PENDING}


def _submit(client: GitHubClient, review: PullRequestReview, review_id: int, attempt: effects.Try) -> dict[str, Any]:
    attempt.check()
    return {"id": told(lambda: client.submit_review(review.repository.full_name, review.number, review_id))}


class _Refused(effects.NotDone):
    """What the far side said instead of doing it, for the effect's record; said: what is raised outside."""

    def __init__(self, said: Exception) -> None:
        super().__init__(str(said))
        self.said = said


def told(call: Callable[[], T]) -> T:
    """Tell an answer that says that nothing was done from one that does not."""
    try:
        return call()
    except Snooze as exc:  # our own limit, before anything was sent
        raise _Refused(exc) from exc
    except GitHubError as exc:
        if 300 <= exc.status < 500 and exc.status not in _UNCLEAR:
            raise _Refused(exc) from exc
        raise


def refusals(call: Callable[[], T]) -> T:
    """Raise what the far side said, where an effect was refused."""
    try:
        return call()
    except _Refused as exc:
        raise exc.said from None


def clear_the_way(client: GitHubClient, review: PullRequestReview) -> bool:
    """After a refusal: throw away a pending review that an older one of ours left. Whether there was one.

    Raises GitHubError for a pending review that is not one of ours: whoever shares the account has begun it.
    """
    full_name, number = review.repository.full_name, review.number
    pending = next((posted for posted in client.reviews(full_name, number) if posted.state == PENDING), None)
    if pending is None:
        return False
    others = PullRequestReview.objects.filter(repository=review.repository, number=number).select_related("repository")
    owner = next((other for other in others if rendering.marker(other) in pending.body), None)
    if owner is None:
        raise GitHubError(
            f"the account {client.identity().login} has begun a review of {full_name}#{number} by hand, and GitHub "
            "allows one at a time; submit or delete it there",
            UNPROCESSABLE,
        )
    _delete(client, owner, pending.id)
    if owner.pk != review.pk:
        give_up(owner)
    logger.info("Review %s, left pending at GitHub, was thrown away", owner.pk, extra={"review_id": owner.pk})
    return True


def _delete(client: GitHubClient, review: PullRequestReview, review_id: int) -> None:
    try:
        client.delete_pending_review(review.repository.full_name, review.number, review_id)
    except GitHubError as exc:
        # Submitted, or deleted, by somebody else meanwhile.
        if exc.status not in (NOT_FOUND, UNPROCESSABLE):
            raise
