"""The embedded reviewer, and after it, where the repository wishes, a language model that knows what it found.

A language model that is down, capped or not set up leaves the embedded review, which says so.
"""

import logging
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from django.db.models.functions import Now

from reviews.changes import Change
from reviews.policy import EMBEDDED
from reviews.providers.base import (
    Brief,
    FileCoverage,
    ProviderFailed,
    Report,
    ReviewResult,
    report_nothing,
)
from reviews.providers.embedded import EmbeddedReviewer

logger = logging.getLogger(__name__)

# A review is postponed for a language model no longer than this; then it is posted without.
PATIENCE = timedelta(minutes=30)
EMBEDDED_SHARE = 0.3


def review(
    change: Change, report: Report = report_nothing, brief: Brief | None = None, *, last_attempt: bool | None = None
) -> ReviewResult:
    """Review by what `brief.settings.provider` names.

    last_attempt: whether an error would end the review; None: as the job that runs knows. Before it, what may pass
    by itself is raised (Throttled, LlmBusy), so that the job runs again later.
    """
    brief = brief or Brief()
    if brief.settings.provider == EMBEDDED:
        return EmbeddedReviewer().review(change, report, brief)
    found = EmbeddedReviewer().review(change, lambda part, note: report(EMBEDDED_SHARE * part, note), brief)
    rest: Report = lambda part, note: report(EMBEDDED_SHARE + (1 - EMBEDDED_SHARE) * part, note)  # noqa: E731
    return _with_llm(change, rest, replace(brief, evidence=found.findings), found, last_attempt)


def _with_llm(
    change: Change, report: Report, brief: Brief, found: ReviewResult, last_attempt: bool | None
) -> ReviewResult:
    from reviews.llm import accounts, checking
    from reviews.llm.calls import is_last_attempt
    from reviews.llm.errors import LlmBusy
    from reviews.llm.reviewer import LlmReviewer
    from reviews.services.throttle import Throttled

    name = brief.settings.provider
    provider = accounts.find(name)
    if provider is None:
        return replace(found, fallback=f"no language model is set up under the name {name}")
    is_last = is_last_attempt() if last_attempt is None else last_attempt
    is_last = is_last or _has_waited(brief)
    try:
        result, checked = LlmReviewer(provider, is_last).checked(change, report, brief)
    except Throttled as exc:
        if not is_last and exc.seconds < PATIENCE.total_seconds():
            raise
        return _fallen_back(found, brief, exc)
    except LlmBusy as exc:
        if not is_last:
            raise
        return _fallen_back(found, brief, exc)
    except ProviderFailed as exc:
        return _fallen_back(found, brief, exc)
    return replace(
        result,
        findings=checking.merged(found.findings, checked),
        left_out=found.left_out,
        coverage=_covered(found.coverage, result.coverage, name),
        notes=tuple(dict.fromkeys((*found.notes, *result.notes))),
    )


def _fallen_back(found: ReviewResult, brief: Brief, why: Exception) -> ReviewResult:
    from reviews.llm import costs

    logger.warning("Reviewing without %s: %s", brief.settings.provider, why)
    dollars = costs.spent_on(costs.Scope(review_id=brief.review_id)) if brief.review_id is not None else Decimal(0)
    return replace(found, fallback=str(why), cost_usd=dollars)


def _has_waited(brief: Brief) -> bool:
    """Whether the review has been waiting for so long that it is better posted."""
    from reviews.models import PullRequestReview

    if brief.review_id is None:
        return True
    waiting = PullRequestReview.objects.filter(pk=brief.review_id, created_at__gt=Now() - PATIENCE)
    return not waiting.exists()


def _covered(
    embedded: tuple[FileCoverage, ...], by_llm: tuple[FileCoverage, ...], name: str
) -> tuple[FileCoverage, ...]:
    """A file is read if one of both read it; what the language model did not read of it is told."""
    of_path = {file.path: file for file in embedded}
    return tuple(_both(of_path.get(file.path), file, name) for file in by_llm)


def _both(embedded: FileCoverage | None, by_llm: FileCoverage, name: str) -> FileCoverage:
    if embedded is None or (not embedded.read and not by_llm.read):
        return by_llm
    if by_llm.read:
        remarks = [by_llm.reason, embedded.reason if embedded.read else ""]
        return FileCoverage(by_llm.path, read=True, reason="; ".join(dict.fromkeys(filter(None, remarks))))
    reason = f"not read by {name}: {by_llm.reason}"
    return FileCoverage(by_llm.path, read=True, reason="; ".join(filter(None, [reason, embedded.reason])))
