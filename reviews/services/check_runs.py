"""The line at a commit that says how far its review is, with GitHub's Re-run button. Apps alone have it.

It is a courtesy: where GitHub does not take it, the review goes on.
"""

import logging

from reviews.github.checks import CheckOutput
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError
from reviews.models import PullRequestReview
from reviews.services.masking import masker_of
from reviews.services.rendering import plain
from reviews.services.throttle import Throttled

logger = logging.getLogger(__name__)

NAME = "Switchyard"
MAX_SUMMARY_CHARS = 60_000


def begin(client: GitHubClient, review: PullRequestReview) -> None:
    """Show that the review is under way; that of an earlier attempt goes on."""
    if client.identity().app_id is None:
        return
    try:
        found = review.check_run_id or _of_earlier_attempt(client, review)
        if found is None:
            found = client.create_check_run(
                review.repository.full_name, name=NAME, head_sha=review.head_sha, external_id=str(review.pk)
            )
        elif review.check_run_id is None:
            client.update_check_run(review.repository.full_name, found)
    except (GitHubError, Throttled) as exc:
        logger.info("No check run for review %s: %s", review.pk, exc, extra={"review_id": review.pk})
        return
    PullRequestReview.objects.filter(pk=review.pk).update(check_run_id=found)
    review.check_run_id = found


def _of_earlier_attempt(client: GitHubClient, review: PullRequestReview) -> int | None:
    runs = client.check_runs(review.repository.full_name, review.head_sha, NAME)
    ours = client.identity().app_id  # another installation of Switchyard counts its reviews from 1, too
    return next((run.id for run in runs if run.external_id == str(review.pk) and run.app_id in (None, ours)), None)


def end(client: GitHubClient, review: PullRequestReview, conclusion: str, title: str, summary: str) -> None:
    """conclusion: success, neutral, cancelled or failure; a review neither approves nor blocks.

    title: plain text. summary: Markdown; empty to show the title.
    """
    if review.check_run_id is None:
        return
    masker = masker_of(None, [title, summary])
    shown = masker.mask(title)
    text = masker.mask(summary)[:MAX_SUMMARY_CHARS]
    output = CheckOutput(title=shown[:200], summary=text or plain(shown))
    try:
        client.update_check_run(review.repository.full_name, review.check_run_id, conclusion=conclusion, output=output)
    except (GitHubError, Throttled) as exc:
        logger.info("The check run of review %s stays: %s", review.pk, exc, extra={"review_id": review.pk})
