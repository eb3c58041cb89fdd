"""How a change is reviewed: what the admin sets, and over it `.switchyard.yml` on the base branch."""

from dataclasses import dataclass, field
from decimal import Decimal

from reviews.paths import PathPatterns

OFFLINE = "offline"
EMBEDDED = "embedded"


@dataclass(frozen=True)
class PathInstructions:
    """path: a pattern as in .gitignore."""

    path: str
    instructions: str


@dataclass(frozen=True)
class ReviewSettings:
    """All that a review is made by; kept with it, and shown.

    severity_floor: high, medium or low. change_cap_usd, daily_cap_usd: None leaves it to the provider's own. source:
    where it comes from, in words: "the admin", or the file and its commit.
    """

    provider: str = EMBEDDED
    severity_floor: str = "low"
    finding_budget: int = 10
    review_drafts: bool = False
    review_bots: bool = False
    excluded_labels: tuple[str, ...] = ()
    excluded_titles: tuple[str, ...] = ()
    excluded_authors: tuple[str, ...] = ()
    excluded_paths: PathPatterns = field(default_factory=PathPatterns)
    instructions: str = ""
    path_instructions: tuple[PathInstructions, ...] = ()
    language: str = "English"
    change_cap_usd: Decimal | None = None
    daily_cap_usd: Decimal | None = None
    source: str = "the admin"
