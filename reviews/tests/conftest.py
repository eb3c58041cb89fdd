from collections.abc import Callable
from pathlib import Path

import pytest

from reviews.analysis.tools.ruff import Ruff
from reviews.local_source import open_change
from reviews.providers.base import Finding, ReviewResult
from reviews.providers.embedded import EmbeddedReviewer
from reviews.standin.repositories import Files, Repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


@pytest.fixture
def review(repo: Repo) -> Callable[..., ReviewResult]:
    """`review(base files, head files)`: commit both, and review the second against the first."""

    def run(before: Files, after: Files) -> ReviewResult:
        base = repo.commit(before)
        head = repo.commit(after)
        return between(repo, base, head)

    return run


def between(repo: Repo, base: str, head: str) -> ReviewResult:
    """What the comparison of base and head gives, by one tool that is fast."""
    with open_change(repo.path, base, head) as change:
        return EmbeddedReviewer([Ruff()]).review(change)


def seen(result: ReviewResult) -> list[tuple[str, int, str]]:
    """(path, line, rule) of each finding, in order of place."""
    return sorted((found.path, found.line, found.rule) for found in result.findings)


def unread(result: ReviewResult) -> dict[str, str]:
    return {file.path: file.reason for file in result.not_read}


def only(result: ReviewResult) -> Finding:
    (finding,) = result.findings
    return finding
