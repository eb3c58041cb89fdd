"""What calls of language models cost: reserved before each call at the most that it may be, settled after it.

A call that was never settled, because its process ended, goes on counting at that, until `sweep` ends it so.
"""

from dataclasses import dataclass
from datetime import UTC, timedelta
from decimal import ROUND_UP, Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Now, TruncDay

from jobs.ledger.run import current_run
from jobs.models import Job
from jobs.models.job import UNFINISHED
from reviews.llm.client import Usage
from reviews.llm.errors import LlmCapped
from reviews.llm.prices import CACHE_WRITE_FACTOR
from reviews.models import LlmCall, LlmProvider

#: No text that people write has more tokens.
LEAST_BYTES_A_TOKEN = 2
#: No call takes so long; see `calls`.
LONGEST_CALL = timedelta(minutes=15)
KEPT_ANSWERS = timedelta(days=1)
CUT_OFF = "its process ended; counted at the most that it may have cost"

_MILLION = Decimal(1_000_000)
_MICRO = Decimal("0.000001")


@dataclass(frozen=True)
class Scope:
    """What calls are booked on. Caps: the repository's own, in dollars; None leaves it to the provider's."""

    repository_id: int | None = None
    number: int | None = None
    review_id: int | None = None
    change_cap_usd: Decimal | None = None
    daily_cap_usd: Decimal | None = None


@dataclass(frozen=True)
class Wanted:
    """A call before it is made. size: its bytes; estimated_tokens: of its input; digest: of what is asked."""

    purpose: str
    size: int
    estimated_tokens: int
    max_output_tokens: int
    digest: str


def most(provider: LlmProvider, wanted: Wanted) -> Decimal:
    """The most that a call may cost, in dollars."""
    tokens = max(wanted.size // LEAST_BYTES_A_TOKEN, wanted.estimated_tokens)
    return cost(provider, Usage(tokens, wanted.max_output_tokens, written=tokens))


def cost(provider: LlmProvider, usage: Usage) -> Decimal:
    """What a call cost, in dollars. Of the tokens of the input, those read from a cache and written to it differ."""
    written = usage.written * CACHE_WRITE_FACTOR + max(0, usage.input - usage.cached - usage.written)
    dollars = (
        written * provider.input_usd_per_million
        + usage.cached * provider.cached_usd_per_million
        + usage.output * provider.output_usd_per_million
    )
    return (dollars / _MILLION).quantize(_MICRO, ROUND_UP)


@transaction.atomic
def reserve(provider: LlmProvider, scope: Scope, wanted: Wanted) -> LlmCall:
    """Book a call before it is made, unless a cap forbids it. Raises LlmCapped.

    Must not be part of a transaction that may be rolled back: the call happens whatever becomes of that.
    """
    dollars = most(provider, wanted)
    _lock(provider, scope)
    _end_former_calls()
    _check_caps(provider, scope, dollars)
    return LlmCall.objects.create(
        provider=provider.name,
        model=provider.model,
        purpose=wanted.purpose,
        repository_id=scope.repository_id,
        number=scope.number,
        review_id=scope.review_id,
        job_id=_job_id(),
        estimated_tokens=wanted.estimated_tokens,
        request_digest=wanted.digest,
        cost_usd=dollars,
    )


def settle(
    call: LlmCall,
    dollars: Decimal | None,
    usage: Usage | None = None,
    *,
    seconds: float | None = None,
    error: str = "",
    answer: Any = None,
) -> None:
    """End a call that is under way. dollars: what it cost; None leaves it at the most that it may have cost."""
    fields: dict[str, Any] = {"seconds": seconds, "error": error[:1000], "answer": answer, "finished_at": Now()}
    if dollars is not None:
        fields["cost_usd"] = dollars
    if usage is not None:
        fields |= {"input_tokens": usage.input, "cached_tokens": usage.cached}
        fields |= {"written_tokens": usage.written, "output_tokens": usage.output}
    LlmCall.objects.filter(pk=call.pk, finished_at__isnull=True).update(**fields)


def remembered(provider: LlmProvider, scope: Scope, digest: str) -> LlmCall | None:
    """The same request, answered before to the same review or job within a day."""
    job_id = _job_id()
    asker = (Q(review_id=scope.review_id) if scope.review_id else Q()) | (Q(job_id=job_id) if job_id else Q())
    if not asker:
        return None
    known = LlmCall.objects.filter(asker, provider=provider.name, request_digest=digest, answer__isnull=False)
    return known.filter(created_at__gte=Now() - KEPT_ANSWERS).order_by("-created_at").first()


def tokens_correction(provider: LlmProvider, review_id: int | None = None) -> float:
    """How many tokens the provider counted for each that was estimated, over its last calls; from 0.5 to 2.

    review_id: its calls, and all after its first, do not count, so that each attempt sends the same requests.
    """
    counted = LlmCall.objects.filter(provider=provider.name, model=provider.model, input_tokens__gt=0)
    began = LlmCall.objects.filter(review_id=review_id).order_by("pk").first() if review_id is not None else None
    if began is not None:
        counted = counted.filter(pk__lt=began.pk)
    last = list(counted.order_by("-created_at").values_list("estimated_tokens", "input_tokens")[:20])
    estimated = sum(before for before, _ in last)
    return min(2.0, max(0.5, sum(after or 0 for _, after in last) / estimated)) if estimated else 1.0


def spent_today(provider: str | None = None, repository_id: int | None = None) -> Decimal:
    """Dollars since midnight UTC, with what is reserved: of a provider, a repository, or both."""
    calls = LlmCall.objects.filter(created_at__gte=TruncDay(Now(), tzinfo=UTC))
    if provider is not None:
        calls = calls.filter(provider=provider)
    if repository_id is not None:
        calls = calls.filter(repository_id=repository_id)
    return _sum(calls)


def spent_on(scope: Scope) -> Decimal:
    """Dollars spent on one review, or, without one, on a pull request's or issue's other calls since midnight UTC."""
    if scope.review_id is not None:
        return _sum(LlmCall.objects.filter(review_id=scope.review_id))
    if scope.number is None:
        return Decimal(0)
    others = LlmCall.objects.filter(Q(repository_id=scope.repository_id), number=scope.number, review_id__isnull=True)
    return _sum(others.filter(created_at__gte=TruncDay(Now(), tzinfo=UTC)))


def sweep() -> dict[str, int]:
    """End calls whose process ended, and forget answers that no job asks for any more."""
    under_way = LlmCall.objects.filter(finished_at__isnull=True)
    unfinished = Job.objects.filter(state__in=UNFINISHED).values("id")
    over = (~Q(job_id="") & ~Q(job_id__in=unfinished)) | Q(created_at__lt=Now() - LONGEST_CALL)
    ended = under_way.filter(over).update(finished_at=Now(), error=CUT_OFF)
    old = LlmCall.objects.filter(answer__isnull=False, created_at__lt=Now() - KEPT_ANSWERS)
    return {"ended": ended, "answers_forgotten": old.update(answer=None)}


def _sum(calls: "QuerySet[LlmCall]") -> Decimal:
    return calls.aggregate(dollars=Sum("cost_usd"))["dollars"] or Decimal(0)


def _job_id() -> str:
    run = current_run()
    return run.job_id if run is not None else ""


def _lock(provider: LlmProvider, scope: Scope) -> None:
    """One at a time for what shares a cap, until the reservation is there for the next to see."""
    keys = [f"llm-provider:{provider.name}"]
    keys += [f"llm-repository:{scope.repository_id}"] if scope.repository_id is not None else []
    with connection.cursor() as cursor:
        for key in keys:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def _end_former_calls() -> None:
    """End what an earlier attempt of this job left under way. This attempt's own are younger than its run."""
    run = current_run()
    if run is not None:
        left = LlmCall.objects.filter(job_id=run.job_id, finished_at__isnull=True)
        started = Job.objects.filter(pk=run.job_id).values("started_at")
        left.filter(created_at__lt=started).update(finished_at=Now(), error=CUT_OFF)


def _check_caps(provider: LlmProvider, scope: Scope, dollars: Decimal) -> None:
    change_cap = _least(provider.change_cap_usd, scope.change_cap_usd)
    if scope.review_id is not None or scope.number is not None:
        _check(spent_on(scope), dollars, change_cap, "for one change")
    _check(spent_today(provider.name), dollars, provider.daily_cap_usd, f"a day of {provider.name}")
    if scope.repository_id is not None and scope.daily_cap_usd is not None:
        spent = spent_today(repository_id=scope.repository_id)
        _check(spent, dollars, scope.daily_cap_usd, "a day of this repository")


def _least(of_provider: Decimal, of_repository: Decimal | None) -> Decimal:
    """A repository may lower the provider's cap, never raise it."""
    return of_provider if of_repository is None else min(of_provider, of_repository)


def _check(spent: Decimal, dollars: Decimal, cap: Decimal, of_what: str) -> None:
    if dollars and spent + dollars > cap:
        raise LlmCapped(f"the cap of ${cap:.2f} {of_what} is reached: ${spent:.2f} spent, up to ${dollars:.2f} more")
