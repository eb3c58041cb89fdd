"""What every reviewer takes and gives."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from reviews.changes import Change

FINDING_BUDGET = 10

Report = Callable[[float, str], None]


class Severity(StrEnum):
    """How much a finding matters; HIGH: it breaks, or lets somebody in."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True)
class Finding:
    """One remark on lines of head.

    line, end_line: from 1, both included, all of them changed. source_line: the line that the rule names, stripped.
    symbol: the enclosing function or class, dotted, empty at module level. fingerprint: the same for the same
    finding after lines above it were added or removed.
    """

    path: str
    line: int
    end_line: int
    rule: str
    message: str
    severity: Severity
    source_line: str
    symbol: str
    fingerprint: str


@dataclass(frozen=True)
class FileCoverage:
    """Whether a file was read, and why not, or what to know about the reading. Read without remark: empty reason."""

    path: str
    read: bool
    reason: str = ""


@dataclass(frozen=True)
class ReviewResult:
    """findings: the most severe first; left_out: how many more there were."""

    provider: str
    findings: tuple[Finding, ...]
    left_out: int
    coverage: tuple[FileCoverage, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def not_read(self) -> tuple[FileCoverage, ...]:
        return tuple(file for file in self.coverage if not file.read)

    def within(self, budget: int) -> "ReviewResult":
        """The same result with the `budget` most severe findings."""
        dropped = max(0, len(self.findings) - budget)
        return replace(self, findings=self.findings[:budget], left_out=self.left_out + dropped)


class ProviderFailed(Exception):
    """The provider could not review at all; the message says why, without secrets."""


def report_nothing(fraction: float, note: str) -> None:
    """For callers who do not want to know how far a review is."""


class Provider(Protocol):
    """A reviewer. `report` is called with a fraction from 0 to 1 and a note; what it raises ends the review."""

    name: str

    def review(self, change: Change, report: Report = report_nothing) -> ReviewResult:
        """All that was found; whoever shows it keeps to a budget. Raises ProviderFailed."""
        ...
