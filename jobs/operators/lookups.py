"""Finding what is meant by a number."""

from typing import TypeVar

from django.db.models import Model, QuerySet

LARGEST_ID = 2**63 - 1
LARGEST_NUMBER = 2**31 - 1
M = TypeVar("M", bound=Model)


class NotHere(LookupError):
    """There is nothing of that number or name; the message says what there is."""


def find(rows: "QuerySet[M]", number: int, what: str) -> M:
    """The row of a number. what: such as "review". Raises NotHere."""
    found = rows.filter(pk=number).first() if 0 < number <= LARGEST_ID else None
    if found is None:
        raise NotHere(f"there is no {what} {str(number)[:40]}")
    return found
