"""Comments on a pull request as a whole: that its review failed, and what is wrong in `.switchyard.yml`. Each once."""

import logging
from collections.abc import Sequence
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from jobs import effects
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError
from reviews.models import PullRequest, PullRequestReview
from reviews.providers.base import ProviderFailed
from reviews.services.markers import marker
from reviews.services.masking import masker_of
from reviews.services.posting import refusals, told
from reviews.services.rendering import code, plain
from reviews.services.repo_config import FILE

logger = logging.getLogger(__name__)

KIND = "github-comment"
TIMEOUT_SECONDS = 30
MAX_ERROR_CHARS = 500


def in_words(exc: BaseException) -> str:
    """An error for people outside: what GitHub or a reviewer said; of our own errors, no more than that it is one."""
    if isinstance(exc, SoftTimeLimitExceeded):
        return "it took too long"
    if isinstance(exc, GitHubError | ProviderFailed | effects.EffectUnknown | effects.EffectUncertain):
        return str(exc)[:MAX_ERROR_CHARS]
    return f"an error of Switchyard's own ({type(exc).__name__})"


def tell_failure(client: GitHubClient, review: PullRequestReview) -> None:
    """One comment with what is `untold`. Raises GitHubError, Throttled, and what effects raise."""
    mark = marker("failure", f"{review.pk}", review.head_sha[:12])
    why = review.untold
    text = (
        f"{code(review.head_sha[:12])} could not be reviewed: {plain(masker_of(None, [why]).mask(why))}.\n\n"
        "An operator can start the review again; so does the next push, or a comment with `@switchyard review`."
    )
    full_name, key = review.repository.full_name, f"review:{review.pk}:failed"
    comment_id = _comment_once(client, full_name, review.number, key, mark, text)
    PullRequestReview.objects.filter(pk=review.pk).update(error_comment_id=comment_id, untold="")


def tell_file_errors(client: GitHubClient, row: PullRequest, blob: str, errors: Sequence[str]) -> None:
    """One comment for each content of the file. Raises as above."""
    if row.config_error_sha == blob:
        return
    masker = masker_of(None, errors)
    listed = "\n".join(f"- {plain(masker.mask(error))}" for error in errors)
    text = (
        f"{code(FILE)} on the base branch is not heeded; the settings of the operators hold instead:\n\n{listed}\n\n"
        "What it may say is described in `docs/switchyard.schema.json` of Switchyard."
    )
    mark = marker("file-errors", f"{row.pk}:{blob}", blob[:12])
    _comment_once(client, row.repository.full_name, row.number, f"pull-request:{row.pk}:file:{blob}", mark, text)
    PullRequest.objects.filter(pk=row.pk).update(config_error_sha=blob)
    row.config_error_sha = blob


def _comment_once(client: GitHubClient, full_name: str, number: int, key: str, mark: str, text: str) -> int:
    def call(attempt: effects.Try) -> dict[str, Any]:
        attempt.check()
        return {"id": told(lambda: client.create_issue_comment(full_name, number, f"{text}\n{mark}"))}

    def look_up(identity: str) -> dict[str, Any] | None:
        ours = client.identity().login.lower()
        found = (one for one in client.issue_comments(full_name, number) if mark in one.body)
        return next(({"id": one.id} for one in found if one.author.lower() == ours), None)

    def once() -> dict[str, Any]:
        context = {"comment_on": number}
        receipt: dict[str, Any] = effects.once(
            key, call, kind=KIND, look_up=look_up, timeout_seconds=TIMEOUT_SECONDS, context=context
        )
        return receipt

    return int(refusals(once)["id"])
