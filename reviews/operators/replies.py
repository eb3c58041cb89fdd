"""Comments that spoke to us, and what came of them."""

from django.db.models import Q, QuerySet

from jobs.operators.lookups import LARGEST_NUMBER, find
from jobs.operators.search import is_storable
from reviews.models import Reply


def replies(
    *,
    repository: str = "",
    number: int | None = None,
    status: "str | list[str]" = "",
    author: str = "",
    command: str = "",
) -> "QuerySet[Reply]":
    """Those that fit all that is given. number: of the pull request."""
    found = Reply.objects.select_related("pull_request__repository")
    if not is_storable(repository + author + command) or not (number is None or 0 < number <= LARGEST_NUMBER):
        return found.none()
    conditions = Q()
    if repository:
        conditions &= Q(pull_request__repository__full_name__iexact=repository)
    if number is not None:
        conditions &= Q(pull_request__number=number)
    if status:
        conditions &= Q(status__in=[status] if isinstance(status, str) else status)
    if author:
        conditions &= Q(author__iexact=author)
    if command:
        conditions &= Q(command=command)
    return found.filter(conditions)


def find_reply(reply_id: int) -> Reply:
    """Raises NotHere."""
    return find(replies(), reply_id, "reply")
