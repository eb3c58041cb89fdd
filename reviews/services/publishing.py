"""From what is to be posted to the submitted review, whatever stands in the way at GitHub."""

import logging
from collections.abc import Callable
from typing import Any

from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError
from reviews.models import FindingState, PullRequestReview
from reviews.services import posting, review_text
from reviews.services.posting import MAX_POSTINGS, NOT_FOUND, PENDING, UNPROCESSABLE

logger = logging.getLogger(__name__)


def publish(
    client: GitHubClient, review: PullRequestReview, request: dict[str, Any] | None, check: Callable[[], None]
) -> int:
    """Post the review once; its id at GitHub.

    request: body, comments, and text: the body that tells of every finding, for when GitHub refuses a comment; None:
    as it was written down before. check: raises, just before the review becomes public, if nobody wants it any more.
    Raises GitHubError, what effects raise, and what `check` raises.
    """
    wanted = posting.stored_request(review) if request is None else request
    for _ in range(2 * MAX_POSTINGS):
        try:
            review_id, state = posting.create(client, review, wanted)
        except GitHubError as exc:
            if exc.status != UNPROCESSABLE:
                raise
            wanted = _after_refusal(client, review, wanted, exc)
            continue
        check()
        if state != PENDING or _submit(client, review, review_id):
            return review_id
    raise GitHubError(f"{review} was taken away at GitHub each time that it was posted", UNPROCESSABLE)


def _after_refusal(
    client: GitHubClient, review: PullRequestReview, wanted: dict[str, Any], exc: GitHubError
) -> dict[str, Any]:
    """What to try next: the same, now that nothing stands in its way, or the text alone."""
    if posting.clear_the_way(client, review):
        return wanted
    if not wanted["comments"] or review.postings >= MAX_POSTINGS:
        raise exc
    # A comment that GitHub does not take refuses all of them; the text alone loses nothing that was found.
    logger.warning("GitHub refused the comments of review %s: %s", review.pk, exc, extra={"review_id": review.pk})
    posting.give_up(review)
    return {**wanted, "body": wanted["text"], "comments": []}


def _submit(client: GitHubClient, review: PullRequestReview, review_id: int) -> bool:
    """Returns False if it is gone from GitHub, so that it has to be posted anew."""
    try:
        posting.submit(client, review, review_id)
    except GitHubError as exc:
        if exc.status not in (NOT_FOUND, UNPROCESSABLE) or posting.find(client, review) is not None:
            raise
        if review.postings >= MAX_POSTINGS:
            raise
        posting.give_up(review)
        return False
    return True


def comment_ids(client: GitHubClient, review: PullRequestReview, posted: int, *, last_attempt: bool) -> dict[int, int]:
    """Our findings' comments at GitHub: by path and the mark in each. posted: the review's id there.

    Raises GitHubError, but not at the last attempt: then what is not known is left out.
    """
    findings = list(review.findings.filter(state=FindingState.NEW, anchored=True))
    if not findings:
        return {}
    try:
        there = list(client.comments_of_review(review.repository.full_name, review.number, posted))
    except GitHubError as exc:
        if not last_attempt:
            raise
        logger.warning("The comments of review %s are not known: %s", review.pk, exc)
        return {}
    marks = {(finding.path, review_text.FINDING_MARK.format(finding.fingerprint)): finding.pk for finding in findings}
    return {
        pk: found.id
        for found in there
        for (path, mark), pk in marks.items()
        if found.path == path and mark in found.body
    }
