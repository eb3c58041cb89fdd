"""Posts a review once: what we posted before is looked up by its marker before anything is posted."""

from typing import Any

from reviews.changes import Change
from reviews.clients import GitHubClient, GitHubError
from reviews.models import PullRequestReview
from reviews.providers.base import Finding, ReviewResult
from reviews.services import rendering

UNPROCESSABLE = 422


def post_once(client: GitHubClient, review: PullRequestReview, change: Change, result: ReviewResult) -> int:
    """Post the review of `review.head_sha`, unless it is there already; its id at GitHub. Raises GitHubError."""
    found = _posted_before(client, review)
    if found is not None:
        return found
    comments, elsewhere = sort_findings(change, result)
    try:
        return _create(client, review, change, result, comments, elsewhere)
    except GitHubError as exc:
        # A comment that GitHub does not take refuses all of them; the text alone loses nothing that was found.
        if exc.status != UNPROCESSABLE or not comments:
            raise
        return _create(client, review, change, result, [], list(result.findings))


def sort_findings(change: Change, result: ReviewResult) -> tuple[list[dict[str, Any]], list[Finding]]:
    """(comments on lines, findings that have no line in the diff)."""
    files = {file.path: file for file in change.files}
    comments: list[dict[str, Any]] = []
    elsewhere: list[Finding] = []
    for finding in result.findings:
        comment = rendering.comment(finding, files.get(finding.path))
        if comment is None:
            elsewhere.append(finding)
        else:
            comments.append({**comment, "body": rendering.mask(str(comment["body"]))})
    return comments, elsewhere


def _posted_before(client: GitHubClient, review: PullRequestReview) -> int | None:
    mark = rendering.marker(review)
    for posted in client.reviews(review.repository.full_name, review.number):
        if mark not in posted.body:
            continue
        if posted.state == "PENDING":
            return client.submit_review(review.repository.full_name, review.number, posted.id)
        return posted.id
    return None


def _create(
    client: GitHubClient,
    review: PullRequestReview,
    change: Change,
    result: ReviewResult,
    comments: list[dict[str, Any]],
    elsewhere: list[Finding],
) -> int:
    return client.create_review(
        review.repository.full_name,
        review.number,
        head_sha=review.head_sha,
        body=rendering.body(review, change, result, elsewhere),
        comments=comments,
    )
