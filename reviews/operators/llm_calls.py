"""What language models were asked and what that cost, call by call and in sums."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Now, TruncDate

from jobs.operators.lookups import LARGEST_ID, find
from jobs.operators.search import is_storable
from reviews.models import LlmCall

KEPT_DAYS = 30
MOST_ROWS = 200
PURPOSES = ("review", "repair", "reply", "issue", "check")
#: What calls are summed by → the column, or what is made of it. Days are those of UTC, as for the caps.
SUMMED_BY: dict[str, Any] = {
    "day": TruncDate("created_at", tzinfo=UTC),
    "provider": F("provider"),
    "repository": F("repository__full_name"),
}


@dataclass(frozen=True)
class Summed:
    """of: a day, a provider or a repository; empty: calls of none. cost_usd: with what is reserved at this moment."""

    of: str
    calls: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: Decimal


def calls(
    *,
    provider: str = "",
    purpose: str = "",
    repository: str = "",
    review: int | None = None,
    failed: bool | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> "QuerySet[LlmCall]":
    """Those that fit all that is given, without their answers."""
    found = LlmCall.objects.select_related("repository").defer("answer")
    if not is_storable(provider + repository) or not (review is None or 0 < review <= LARGEST_ID):
        return found.none()
    conditions = Q()
    for name, value in (("provider", provider), ("purpose", purpose), ("repository__full_name__iexact", repository)):
        if value:
            conditions &= Q(**{name: value})
    if review is not None:
        conditions &= Q(review=review)
    if failed is not None:
        conditions &= ~Q(error="") if failed else Q(error="")
    if created_after is not None:
        conditions &= Q(created_at__gte=created_after)
    if created_before is not None:
        conditions &= Q(created_at__lt=created_before)
    return found.filter(conditions)


def find_call(call_id: int) -> LlmCall:
    """Raises NotHere."""
    return find(calls(), call_id, "LLM call")


def sums(by: str, *, created_after: datetime | None = None, **filters: Any) -> list[Summed]:
    """Calls summed by a key of SUMMED_BY, of the last 30 days unless told otherwise.

    The newest day comes first, or what cost most. filters: as `calls` takes them.
    """
    found = calls(created_after=created_after, **filters)
    if created_after is None:
        found = found.filter(created_at__gte=Now() - timedelta(days=KEPT_DAYS))
    rows = found.order_by().values(of=SUMMED_BY[by]).annotate(
        calls=Count("pk"),
        failed=Count("pk", filter=~Q(error="")),
        input_tokens=Coalesce(Sum("input_tokens"), 0),
        cached_tokens=Coalesce(Sum("cached_tokens"), 0),
        output_tokens=Coalesce(Sum("output_tokens"), 0),
        cost_usd=Sum("cost_usd"),
    )  # fmt: skip
    order = ("-of",) if by == "day" else ("-cost_usd", "of")
    return [_summed(**row) for row in rows.order_by(*order)[:MOST_ROWS]]


def _summed(of: Any, **figures: Any) -> Summed:
    return Summed(of.isoformat() if isinstance(of, date) else str(of or ""), **figures)
