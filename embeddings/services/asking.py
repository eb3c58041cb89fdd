"""What a search may ask for: checks of what comes from outside. Loads no library, for those who only name it."""

from dataclasses import dataclass
from typing import Any

from embeddings.services.filters import Condition, FilterRefused, condition
from embeddings.services.items import shown

MODES = ("hybrid", "vector", "text", "fast")
MAX_QUERY = 2_000
MAX_K = 100
DEFAULT_K = 10
FIRST = "documents"
PERMISSION = "embeddings.search_collection"


class SearchRefused(ValueError):
    """A search that cannot be. name: of the argument; the message says what is wrong and what to do."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class SearchUnavailable(RuntimeError):
    """A search that cannot be made now; the message says why. retry_after: seconds, 0 where that is not known."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Question:
    """A search as checked. by_document: a hit for each document, by its best chunk; else one for each chunk."""

    text: str
    k: int
    mode: str
    condition: Condition
    by_document: bool


def check(query: Any, k: Any, filters: Any, mode: Any, by_document: bool) -> Question:
    """Raises SearchRefused."""
    if mode not in MODES:
        raise SearchRefused("mode", f"unknown mode {shown(mode)}; choose from: {', '.join(MODES)}")
    return Question(check_text(query), check_k(k), mode, check_filters(filters), by_document)


def check_text(query: Any, longest: int = MAX_QUERY) -> str:
    if not isinstance(query, str) or not query.strip():
        raise SearchRefused("q", f"it is {shown(query)}; give the text to search for")
    if len(query) > longest:
        raise SearchRefused("q", f"it has {len(query):,} characters; it takes up to {longest:,}")
    for character in query:
        if character == "\x00" or "\ud800" <= character <= "\udfff":
            raise SearchRefused("q", f"it has U+{ord(character):04X}, which is no character of a text; remove it")
    return query.strip()


def check_k(k: Any) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise SearchRefused("k", f"it is {shown(k)}; it takes a whole number from 1 to {MAX_K}")
    return k


def check_filters(filters: Any) -> Condition:
    try:
        return condition(filters)
    except FilterRefused as exc:
        raise SearchRefused("filter", str(exc)) from None
