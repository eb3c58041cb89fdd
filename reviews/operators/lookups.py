"""Finding what is meant: a repository by its name, a pull request by owner/name#7."""

import re

from jobs.operators.lookups import LARGEST_NUMBER, NotHere, find
from jobs.operators.search import is_storable
from reviews.models import Repository
from reviews.services.repository_names import by_name

MOST_NAMED = 20
FULL_NAME = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)
_PULL_REQUEST = re.compile(r"([\w.-]{1,100}/[\w.-]{1,100})#([0-9]{1,10})", re.ASCII)


class BadReference(ValueError):
    """A text that does not name what it should; the message says how it is written. field: where it was given."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def repository_named(full_name: str) -> Repository:
    """The repository of a name as it is now; of several, the one that GitHub knows. Raises NotHere."""
    found = by_name(full_name).first() if is_storable(full_name) else None
    if found is None:
        known = list(Repository.objects.order_by("full_name").values_list("full_name", flat=True)[: MOST_NAMED + 1])
        names = ", ".join(known[:MOST_NAMED]) + (", …" if len(known) > MOST_NAMED else "")
        choice = f"choose from: {names}, or add it" if known else "none is known yet; add it"
        raise NotHere(f"unknown repository {full_name[:201]!r}; {choice}")
    return found


def repository_of(text: str) -> Repository:
    """By its number here, or its name. Raises NotHere."""
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return find(Repository.objects.select_related("access", "installation"), int(text), "repository")
    return repository_named(text)


def pull_request_named(text: str) -> tuple[str, int]:
    """("owner/name", 7) of "owner/name#7". Raises BadReference."""
    match = _PULL_REQUEST.fullmatch(text)
    if match is None:
        raise BadReference("pr", f"{text[:210]!r} names no pull request; write it as owner/name#7")
    return match[1], checked_number(int(match[2]))


def checked_number(number: int) -> int:
    """Raises BadReference for a number that no pull request has."""
    if not 1 <= number <= LARGEST_NUMBER:
        raise BadReference("number", f"number {str(number)[:40]} is none of a pull request; it takes 1 or more")
    return number
