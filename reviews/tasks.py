"""Celery entry points. Arguments are ids."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.exceptions import Reject

from jobs import Snooze, job
from jobs.schedules.defaults import default_schedule

MAX_ATTEMPTS = 4
INDEX_SECONDS = 1800


@contextmanager
def _github_decides() -> Iterator[None]:
    """What GitHub will not do fails the job at once, and a wait that it asks for uses no attempt."""
    from reviews.github.errors import GitHubError, GitHubRefused

    try:
        yield
    except GitHubRefused as exc:
        # A rejected job fails at once, whatever attempts it has left.
        raise Reject(exc) from exc
    except GitHubError as exc:
        if exc.retry_after_seconds is None:
            raise
        raise Snooze(exc.retry_after_seconds, str(exc)) from None


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
    from reviews.services import reviewing

    with _github_decides():
        return reviewing.run(review_id, last_attempt=self.request.retries + 1 >= MAX_ATTEMPTS)


@job(
    queue="fast_lane",
    unique=lambda reply_id: f"reply:{reply_id}",
    max_attempts=MAX_ATTEMPTS,
    soft_time_limit=120,
    bind=True,
    max_retries=MAX_ATTEMPTS - 1,
)
def handle_pr_reply(self: Any, reply_id: int) -> dict[str, Any]:
    """Answer a comment that addresses us, or do what it asks for."""
    from reviews.services import replying

    with _github_decides():
        return replying.handle(reply_id, last_attempt=self.request.retries + 1 >= MAX_ATTEMPTS)


@job(
    queue="index_lane",
    unique=lambda repository_id: f"index:{repository_id}",
    # A push during a run has to be seen: by that run, or by one that follows.
    unique_while="queued",
    max_attempts=MAX_ATTEMPTS,
    soft_time_limit=INDEX_SECONDS,
)
def index_repository(repository_id: int) -> dict[str, Any]:
    """Bring the index of a repository's code to its newest commit."""
    from reviews.code.mirror import MirrorRefused
    from reviews.services import code_index

    try:
        with _github_decides():
            return code_index.update(repository_id)
    except MirrorRefused as exc:
        raise Reject(exc) from exc


@job(queue="fast_lane", unique=lambda issue_id: f"issue:{issue_id}", max_attempts=MAX_ATTEMPTS, soft_time_limit=120)
def enrich_issue(issue_id: int) -> dict[str, Any]:
    """Give an issue its summary, labels and similar issues, unless its text is the one that was read before."""
    from reviews.services import enriching

    return enriching.enrich(issue_id)


@job(
    name="reviews.train_issue_labels",
    queue="slow_lane",
    unique=lambda repository_id: f"issue-labels:{repository_id}",
    debounce_seconds=60,
    soft_time_limit=600,
)
def train_issue_labels(repository_id: int) -> dict[str, Any]:
    """Learn a repository's labels from the issues that its people labelled."""
    from reviews.services import label_training

    return label_training.train(repository_id)


@job(
    name="reviews.import_issues",
    queue="slow_lane",
    unique=lambda repository_id: f"import-issues:{repository_id}",
    soft_time_limit=1800,
)
def import_issues(repository_id: int) -> dict[str, Any]:
    """Fetch a repository's issues from GitHub, to learn its labels and to compare new ones with."""
    from reviews.services import issue_importing

    with _github_decides():
        return issue_importing.run(repository_id)


@job(
    name="reviews.apply_issue_labels",
    queue="fast_lane",
    unique=lambda issue_id: f"apply-issue-labels:{issue_id}",
    unique_while="queued",
    max_attempts=MAX_ATTEMPTS,
    soft_time_limit=120,
)
def apply_issue_labels(issue_id: int) -> dict[str, Any]:
    """Add at GitHub the labels that an issue got here."""
    from reviews.services import label_posting

    with _github_decides():
        return label_posting.apply(issue_id)


@job(name="reviews.settle_issues", queue="maintenance", unique=lambda: "settle-issues")
def settle_issues() -> dict[str, Any]:
    """Say of issues whose job will not run any more that they failed."""
    from reviews.services import enriching

    return {"failed": enriching.settle_lost()}


@job(name="reviews.settle_lost", queue="maintenance", unique=lambda: "settle-lost")
def settle_lost() -> dict[str, Any]:
    """Say of replies and code indexes whose job will not run any more that they failed."""
    from reviews.services import lost_work

    return {"replies": lost_work.settle_replies(), "indexes": lost_work.settle_indexes()}


@job(
    name="reviews.forget_repository",
    queue="maintenance",
    unique=lambda repository_id, if_gone=False: f"forget:{repository_id}:{if_gone}",
)
def forget_repository(repository_id: int, if_gone: bool = False) -> dict[str, Any]:
    """Remove the mirror and the index of a repository, and, where it was deleted here, the texts of its issues.

    if_gone: only if it is still gone from GitHub, or we from it, when this job runs.
    """
    from reviews.services import code_index, issue_corpus

    done = code_index.remove_if_gone(repository_id) if if_gone else code_index.remove(repository_id)
    return {**done, "issues": issue_corpus.forget_of(repository_id)}


@job(name="reviews.sweep_deliveries", queue="maintenance", unique=lambda: "sweep-deliveries")
def sweep_deliveries() -> dict[str, Any]:
    """Ask GitHub for deliveries that failed, and have them sent again."""
    from reviews.services import delivery_sweep

    return delivery_sweep.sweep()


@job(name="reviews.sweep_pending_reviews", queue="maintenance", unique=lambda: "sweep-pending-reviews")
def sweep_pending_reviews() -> dict[str, Any]:
    """Submit or delete reviews of ours that were left pending at GitHub, where they keep the next one from starting."""
    from reviews.services import pending_sweep

    return pending_sweep.sweep()


@job(name="reviews.check_llm_provider", queue="fast_lane", unique=lambda provider_name: f"check-llm:{provider_name}")
def check_llm_provider(provider_name: str) -> dict[str, Any]:
    """Send a language model a tiny request, which tells whether its key and model work."""
    from reviews.services import llm_providers

    checked = llm_providers.try_out(provider_name)
    return {"works": checked.works, "message": checked.message, "cost_usd": str(checked.cost_usd)}


@job(name="reviews.settle_llm_calls", queue="maintenance", unique=lambda: "settle-llm-calls")
def settle_llm_calls() -> dict[str, Any]:
    """End calls of language models whose process ended, and forget answers that nobody asks for any more."""
    from reviews.llm import costs

    return costs.sweep()


@job(name="reviews.clean_up", queue="maintenance", unique=lambda: "reviews-clean-up")
def clean_up() -> dict[str, Any]:
    """Delete old deliveries, and what is kept of pull requests that were closed long ago."""
    from reviews.services import cleaning

    return cleaning.clean_up()


default_schedule(
    "Ask GitHub for failed deliveries",
    task="reviews.sweep_deliveries",
    interval={"every": 10, "period": "minutes"},
    description="Of every App: deliveries that did not arrive, or were not stored, are sent again.",
)
default_schedule(
    "Sweep reviews left pending",
    task="reviews.sweep_pending_reviews",
    interval={"every": 30, "period": "minutes"},
    description="A pending review at GitHub, left by a lost answer, keeps the next one from being posted.",
)
default_schedule(
    "Settle issues",
    task="reviews.settle_issues",
    interval={"every": 2, "period": "minutes"},
    description="An issue whose job was cancelled, or lost its process too often, is shown as failed.",
)
default_schedule(
    "Settle replies and code indexes",
    task="reviews.settle_lost",
    interval={"every": 2, "period": "minutes"},
    description="Those whose job was cancelled, or lost its process too often, are shown as failed.",
)
default_schedule(
    "Clean up reviews",
    task="reviews.clean_up",
    crontab={"minute": "40", "hour": "3"},
    description="Old deliveries, and findings of pull requests that were closed long ago.",
)
default_schedule(
    "Settle calls of language models",
    task="reviews.settle_llm_calls",
    interval={"every": 10, "period": "minutes"},
    description="Calls whose process ended count at the most that they may have cost; kept answers go after a day.",
)
