"""A reviewer for tests of what comes before and after it: every line with BAD in it is a finding."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from reviews.changes import Change
from reviews.models import PullRequest, PullRequestReview, Repository, Trigger
from reviews.providers.base import Brief, FileCoverage, Finding, ReviewResult, Severity
from reviews.services import briefing, requesting
from reviews.standin.repositories import Files
from reviews.standin.server import Standin

Reviewer = Callable[..., ReviewResult]


def find_bad(change: Change, brief: Brief, *_: Any) -> ReviewResult:
    """Findings of changed lines; WORSE in them is high, else low. A fingerprint is that of the line's text."""
    findings = []
    for file in change.files:
        lines = file.head.load().decode().splitlines() if file.head is not None else []
        for number, line in enumerate(lines, start=1):
            if "BAD" in line and number in file.changed_lines:
                severity = Severity.HIGH if "WORSE" in line else Severity.LOW
                mark = hashlib.sha256(line.encode()).hexdigest()[:32]
                message = f"bad: {line}"
                findings.append(Finding(file.path, number, number, "BAD", message, severity, line, "", mark))
    coverage = tuple(FileCoverage(file.path, read=True) for file in change.files)
    return ReviewResult("embedded", tuple(findings), 0, coverage)


def install(monkeypatch: pytest.MonkeyPatch, reviewer: Reviewer = find_bad) -> None:
    monkeypatch.setattr(briefing, "review_change", reviewer)
    monkeypatch.setattr(briefing, "brief_of", lambda *args: (Brief(), ()))
    monkeypatch.setattr(briefing, "verified", lambda change, selection: selection)


def open_pull(standin: Standin, before: Files, after: Files, number: int = 7, **fields: Any) -> PullRequestReview:
    """A pull request that makes `after` of `before`, and the review that its opening asks for."""
    base = standin.repo.commit(before)
    head = standin.repo.commit(after)
    standin.open_pull(number, base, head)
    repository, _ = Repository.objects.get_or_create(github_id=1, defaults={"full_name": standin.full_name, **fields})
    row = PullRequest.objects.create(repository=repository, number=number, base_sha=base, head_sha=head)
    return ask(row)


def push(standin: Standin, files: Files, number: int = 7) -> PullRequestReview:
    """A further commit, and the review that it asks for."""
    standin.pulls[number]["head"] = standin.repo.commit(files)
    PullRequest.objects.filter(number=number).update(head_sha=standin.pulls[number]["head"])
    return ask(PullRequest.objects.get(number=number), Trigger.PUSHED)


def ask(row: PullRequest, trigger: Trigger = Trigger.OPENED, *, full: bool = False) -> PullRequestReview:
    requested = requesting.request(row, trigger, full=full)
    assert requested.review is not None, requested.reason
    return requested.review
