"""Who reviews a change, and what that one is told beside it: the repository's index, its trees, and the settings."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from reviews.changes import Change
from reviews.github.client import GitHubClient
from reviews.github.shapes import PullRequest
from reviews.interruptions import INTERRUPTIONS
from reviews.models import PullRequestReview
from reviews.policy import EMBEDDED, ReviewSettings
from reviews.providers.base import Brief, Report, ReviewResult
from reviews.services.review_states import Clock
from reviews.services.selecting import Selection

if TYPE_CHECKING:
    from reviews.providers.base import ContextSource, Trees

logger = logging.getLogger(__name__)
T = TypeVar("T")


def brief_of(
    client: GitHubClient, review: PullRequestReview, pull: PullRequest, change: Change, settings: ReviewSettings
) -> tuple[Brief, tuple[str, ...]]:
    """What the reviewer is told, and notes on what could not be had."""
    notes: list[str] = []
    brief = Brief(
        settings=settings,
        title=pull.title,
        description=pull.body,
        context=_had("the index of the repository", lambda: _context(review, change), notes),
        trees=_had("a copy of the repository", lambda: _trees(client, review, change), notes),
        repository_id=review.repository_id,
        number=review.number,
        review_id=review.pk,
    )
    return brief, tuple(notes)


def review_change(change: Change, brief: Brief, report: Report, clock: Clock) -> ReviewResult:
    """All that was found; the time of the embedded reviewer and that of the language model apart.

    Raises ProviderFailed.
    """
    from reviews.providers import combined

    llm_since: list[float] = []
    began = time.monotonic()

    def told(fraction: float, note: str) -> None:
        if not llm_since and fraction >= combined.EMBEDDED_SHARE and brief.settings.provider != EMBEDDED:
            llm_since.append(time.monotonic())
        report(fraction, note)

    try:
        return combined.review(change, told, brief)
    finally:
        ended = time.monotonic()
        clock.add("embedded", (llm_since[0] if llm_since else ended) - began)
        if llm_since:
            clock.add("llm", ended - llm_since[0])


def verified(change: Change, selection: Selection) -> Selection:
    """The same, with those suggestions alone that apply, parse, and bring no finding of their own."""
    from reviews import suggestions

    return replace(selection, told=tuple(suggestions.verify(change, selection.told)))


def _context(review: PullRequestReview, change: Change) -> "ContextSource | None":
    if not review.repository.index_enabled:
        return None
    from reviews.code.context import context_of

    return context_of(review.repository, change.base)


def _trees(client: GitHubClient, review: PullRequestReview, change: Change) -> "Trees | None":
    if not review.repository.index_enabled:
        return None
    from reviews.code.mirror import trees

    # What came to the base branch since the two parted is no part of the change.
    return trees(
        review.repository, client.merge_base(review.repository.full_name, change.base, change.head), change.head
    )


def _had(what: str, load: Callable[[], T | None], notes: list[str]) -> T | None:
    """A help that is not there is told of, and the change is reviewed without it."""
    try:
        return load()
    except INTERRUPTIONS:
        raise
    except Exception as exc:
        logger.warning("Reviewing without %s: %s: %s", what, type(exc).__name__, exc)
        notes.append(f"reviewed without {what} ({type(exc).__name__})")
        return None
