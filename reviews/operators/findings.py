"""Findings of reviews, listed; `services.dismissing` closes them."""

from django.db.models import Q, QuerySet

from jobs.operators.lookups import LARGEST_ID, LARGEST_NUMBER, find
from jobs.operators.search import is_storable
from reviews.models import Finding
from reviews.services.dismissing import FindingNotChanged, dismiss, resolve

__all__ = ["FindingNotChanged", "dismiss", "find_finding", "findings", "resolve"]


def findings(
    *,
    repository: str = "",
    number: int | None = None,
    review: int | None = None,
    state: "str | list[str]" = "",
    severity: str = "",
    rule: str = "",
) -> "QuerySet[Finding]":
    """Those that fit all that is given. number: of the pull request."""
    found = Finding.objects.select_related("review__repository")
    numbers_fit = (number is None or 0 < number <= LARGEST_NUMBER) and (review is None or 0 < review <= LARGEST_ID)
    if not is_storable(repository + rule) or not numbers_fit:
        return found.none()
    conditions = Q()
    if repository:
        conditions &= Q(review__repository__full_name__iexact=repository)
    if number is not None:
        conditions &= Q(review__number=number)
    if review is not None:
        conditions &= Q(review=review)
    if state:
        conditions &= Q(state__in=[state] if isinstance(state, str) else state)
    if severity:
        conditions &= Q(severity=severity)
    if rule:
        conditions &= Q(rule=rule)
    return found.filter(conditions)


def find_finding(finding_id: int) -> Finding:
    """Raises NotHere."""
    return find(Finding.objects.select_related("review__repository"), finding_id, "finding")
