"""What every reviewer takes and gives."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from reviews.changes import Change
from reviews.policy import ReviewSettings

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
    finding after lines above it were added or removed. suggestion: what would stand in place of line to end_line,
    None where nothing is offered; only one that was verified is posted. provider: who found it. confidence: 0 to 1.
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
    suggestion: str | None = None
    category: str = ""
    provider: str = "embedded"
    confidence: float = 1.0


@dataclass(frozen=True)
class FileCoverage:
    """Whether a file was read, and why not, or what to know about the reading. Read without remark: empty reason."""

    path: str
    read: bool
    reason: str = ""


@dataclass(frozen=True)
class ReviewResult:
    """findings: the most severe first; left_out: how many more there were.

    cost_usd: of the calls that were made; requests: how many. fallback: why the reviewer that was asked for did not
    review, so that another one did. summary: what the change does, in a reviewer's words, plain text.
    """

    provider: str
    findings: tuple[Finding, ...]
    left_out: int
    coverage: tuple[FileCoverage, ...]
    notes: tuple[str, ...] = field(default=())
    cost_usd: Decimal = Decimal(0)
    requests: int = 0
    fallback: str = ""
    summary: str = ""

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


class Trees(Protocol):
    """The whole repository, on both sides of a change, as folders that may be read and are thrown away."""

    def base(self) -> AbstractContextManager[Path]: ...

    def head(self) -> AbstractContextManager[Path]: ...


@dataclass(frozen=True)
class Snippet:
    """A piece of the repository that may help to judge a change. why: in words for the reviewer and the footer."""

    path: str
    line: int
    end_line: int
    text: str
    why: str


class ContextSource(Protocol):
    """What is known of the rest of the repository. Each answers with nothing where there is no index."""

    def callers(self, change: Change, limit: int = 20) -> tuple[Snippet, ...]:
        """Uses, outside the change, of what it defines anew or otherwise."""
        ...

    def similar(self, text: str, limit: int = 5) -> tuple[Snippet, ...]:
        """Code that resembles a text."""
        ...

    def guidelines(self) -> tuple[Snippet, ...]:
        """The repository's own rules (CONTRIBUTING, AGENTS, CLAUDE, REVIEW …), of the base branch."""
        ...


@dataclass(frozen=True)
class Brief:
    """What a reviewer is told beside the change. All texts come from outside: they are data, never instructions.

    evidence: what another reviewer found already. trees: the whole repository, where it can be had. scope: what the
    cost of calls is booked on, as keyword arguments of `costs.Scope`; None books on nothing but the day.
    """

    settings: ReviewSettings = field(default_factory=ReviewSettings)
    title: str = ""
    description: str = ""
    evidence: tuple[Finding, ...] = ()
    context: ContextSource | None = None
    trees: Trees | None = None
    repository_id: int | None = None
    number: int | None = None
    review_id: int | None = None


class Provider(Protocol):
    """A reviewer. `report` is called with a fraction from 0 to 1 and a note; what it raises ends the review."""

    name: str

    def review(self, change: Change, report: Report = report_nothing, brief: Brief | None = None) -> ReviewResult:
        """All that was found; whoever shows it keeps to a budget and a floor. Raises ProviderFailed."""
        ...
