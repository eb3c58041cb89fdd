from typing import Any

from celery.exceptions import Reject

from jobs import job
from reviews.clients import GitHubError, GitHubRefused
from reviews.services import reviewing

MAX_ATTEMPTS = 4


@job(
    queue="fast_lane",
    unique=lambda review_id: f"review:{review_id}",
    max_attempts=MAX_ATTEMPTS,
    soft_time_limit=180,
    bind=True,
    max_retries=MAX_ATTEMPTS - 1,
)
def run_pr_review(self: Any, review_id: int) -> dict[str, Any]:
    """Review a pull request at one head and post the review to GitHub."""
    try:
        return reviewing.run(review_id, last_attempt=self.request.retries + 1 >= MAX_ATTEMPTS)
    except GitHubRefused as exc:
        # A rejected job fails at once, whatever attempts it has left.
        raise Reject(exc) from exc
    except GitHubError as exc:
        if exc.retry_after_seconds is None:
            raise
        raise self.retry(exc=exc, countdown=exc.retry_after_seconds) from None
