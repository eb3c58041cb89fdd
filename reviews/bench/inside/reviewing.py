"""Reviews of local changes, as for a pull request, and what was found."""

import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

from reviews.bench.inside.anchoring import refused
from reviews.bench.inside.shown import shown_change
from reviews.changes import Change, ContentUnavailable
from reviews.local_source import open_change, open_change_and_trees
from reviews.models import PullRequest, PullRequestReview, Repository
from reviews.policy import ReviewSettings
from reviews.providers.base import Brief, Finding, ReviewResult
from reviews.providers.embedded import EmbeddedReviewer
from reviews.services.selecting import remember_told, select
from reviews.services.since import Since

FIRST = Since(why_all="no head of it was reviewed before")


def review(repository: str, base: str, head: str) -> dict[str, Any]:
    """Review one change, with the whole repository on both sides, and try where its comments go."""
    began = time.perf_counter()
    change, result = _reviewed(repository, base, head)
    seconds = time.perf_counter() - began
    told = select(result.findings, change, _row(), FIRST, ReviewSettings()).told
    shown = shown_change(repository, change.base, change.head)
    comments, wrong = refused(shown, told)
    return {
        "seconds": seconds,
        "files": len(change.files),
        "lines": _changed_lines(shown.change),
        "findings": len(result.findings),
        "told": len(told),
        "rules": [found.rule for found in told],
        "places": [f"{found.path}:{found.line} {found.rule} {found.message}"[:200] for found in told],
        "comments": comments,
        "refused": wrong,
        "notes": list(result.notes),
    }


def try_anchors(repository: str, base: str, head: str) -> dict[str, Any]:
    """Only try where comments on a change go."""
    with open_change(Path(repository), base, head) as change:
        base = change.base
    comments, wrong = refused(shown_change(repository, base, head), [])
    return {"comments": comments, "refused": wrong}


def review_pushes(repository: str, base: str, middle: str, head: str) -> dict[str, Any]:
    """Review up to a commit on the way, and then what was pushed since. Returns what was told, and what of it twice."""
    row = _row()
    change, result = _reviewed(repository, base, middle)
    first = select(result.findings, change, row, FIRST, ReviewSettings()).told
    posted = PullRequestReview.objects.create(repository=row.repository, number=row.number, head_sha=middle)
    remember_told(row, posted.pk, [(found.path, found.fingerprint) for found in first], FIRST)
    change, result = _reviewed(repository, base, head)
    with open_change(Path(repository), middle, head) as pushed:
        since = _since(pushed)
    second = select(result.findings, change, row, since, ReviewSettings()).told
    names = {new: old for old, new in since.old_paths.items()}
    before, after, there = (Counter(_said(found, names) for found in some) for some in (first, second, result.findings))
    # Two that say the same of two like lines are told once each.
    twice = [said for said, count in after.items() if count + before[said] > max(there[said], count)]
    repeated = [f"{path}: {rule}: {line}"[:200] for path, rule, line, _ in twice]
    return {"told_first": len(first), "told_after": len(second), "repeated": repeated}


def review_large(repository: str) -> dict[str, Any]:
    """peak_mb: the most that this process held at any time since it started."""
    began = time.perf_counter()
    change, result = _reviewed(repository, "HEAD~1", "HEAD")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "files": len(change.files), "findings": len(result.findings), "peak_mb": peak}


def _reviewed(repository: str, base: str, head: str) -> tuple[Change, ReviewResult]:
    with open_change_and_trees(Path(repository), base, head) as (change, trees):
        return change, EmbeddedReviewer().review(change, brief=Brief(trees=trees))


def _row() -> PullRequest:
    """A pull request that nothing was told of."""
    repository, _ = Repository.objects.get_or_create(full_name="bench/bench")
    return PullRequest.objects.create(repository=repository, number=PullRequest.objects.count() + 1)


def _since(pushed: Change) -> Since:
    lines = {file.path: file.changed_lines for file in pushed.files if file.head is not None}
    return Since(lines, {file.path: file.old_path for file in pushed.files if file.old_path})


def _said(found: Finding, old_paths: dict[str, str]) -> tuple[str, str, str, str]:
    """By what a reader would call it the same."""
    return old_paths.get(found.path, found.path), found.rule, found.source_line, found.symbol


def _changed_lines(change: Change) -> int:
    count = 0
    for file in change.files:
        try:
            count += sum(len(part) for part in file.changed_lines.ranges)
        except ContentUnavailable:
            continue
    return count
