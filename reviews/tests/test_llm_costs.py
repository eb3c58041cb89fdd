"""What calls cost: reserved before, settled after, capped whoever asks at the same time."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models.functions import Now

from reviews.llm import costs
from reviews.llm.client import Usage
from reviews.llm.costs import Scope, Wanted
from reviews.llm.errors import LlmCapped
from reviews.llm.prices import price_of
from reviews.models import LlmCall, LlmProvider, Repository

pytestmark = pytest.mark.django_db
#: Longer than any of these tests takes.
BEFORE_MIDNIGHT_SECONDS = 20


@pytest.fixture(autouse=True)
def _on_one_day() -> None:
    """What is spent is counted since midnight: a test that begins just before it goes on after it."""
    now = datetime.now(UTC)
    left = (timedelta(days=1) - (now - now.replace(hour=0, minute=0, second=0, microsecond=0))).total_seconds()
    if left < BEFORE_MIDNIGHT_SECONDS:
        time.sleep(left + 0.1)


@pytest.fixture
def provider() -> LlmProvider:
    prices = {"input_usd_per_million": 2, "cached_usd_per_million": Decimal("0.1"), "output_usd_per_million": 10}
    LlmProvider.objects.create(name="m", kind="openai", model="m", change_cap_usd=1, daily_cap_usd=2, **prices)
    return LlmProvider.objects.get(name="m")


@pytest.fixture
def repository() -> Repository:
    return Repository.objects.create(full_name="acme/shop")


def wanted(**values: Any) -> Wanted:
    """At most 0.40 dollars: 0.25 for 200,000 bytes, which may all be written to a cache, and 0.15 for 15,000 tokens."""
    fields = {
        "purpose": "review",
        "size": 200_000,
        "estimated_tokens": 60_000,
        "max_output_tokens": 15_000,
        "digest": "",
    }
    return Wanted(**{**fields, "digest": "", **values})


def test_a_call_is_booked_at_its_most_before_and_at_its_cost_after(provider: LlmProvider) -> None:
    call = costs.reserve(provider, Scope(), wanted())
    assert (call.cost_usd, costs.spent_today("m")) == (Decimal("0.4"), Decimal("0.4"))

    usage = Usage(input=50_000, output=1_000, cached=30_000, written=10_000)
    costs.settle(call, costs.cost(provider, usage), usage, seconds=1.5)
    call.refresh_from_db()
    # 10,000 fresh at 2, 10,000 written at 2.50, 30,000 cached at 0.10 and 1,000 answered at 10 dollars a million.
    assert call.cost_usd == Decimal("0.058")
    assert (call.input_tokens, call.cached_tokens, call.written_tokens, call.output_tokens) == (
        50_000,
        30_000,
        10_000,
        1_000,
    )
    assert call.finished_at is not None


def test_settling_twice_changes_nothing(provider: LlmProvider) -> None:
    call = costs.reserve(provider, Scope(), wanted())
    costs.settle(call, Decimal("0.1"))
    costs.settle(call, Decimal("0.9"))
    assert costs.spent_today("m") == Decimal("0.1")


def test_the_caps_of_a_change_a_day_and_a_repository_are_kept(provider: LlmProvider, repository: Repository) -> None:
    seven = Scope(repository_id=repository.pk, number=7)
    for _ in range(2):
        costs.reserve(provider, seven, wanted())
    with pytest.raises(LlmCapped, match=r"\$1\.00 for one change is reached: \$0\.80 spent, up to \$0\.40 more"):
        costs.reserve(provider, seven, wanted())

    capped = Scope(repository_id=repository.pk, number=8, daily_cap_usd=Decimal(1))
    with pytest.raises(LlmCapped, match="a day of this repository"):
        costs.reserve(provider, capped, wanted())
    for _ in range(3):
        costs.reserve(provider, Scope(), wanted(purpose="issue"))
    with pytest.raises(LlmCapped, match="a day of m is reached"):
        costs.reserve(provider, Scope(), wanted(purpose="reply"))


def test_a_repository_lowers_the_cap_of_a_change_and_never_raises_it(provider: LlmProvider) -> None:
    with pytest.raises(LlmCapped, match=r"\$0\.30 for one change"):
        costs.reserve(provider, Scope(number=1, change_cap_usd=Decimal("0.3")), wanted())
    with pytest.raises(LlmCapped, match=r"\$1\.00 for one change"):
        costs.reserve(provider, Scope(number=1, change_cap_usd=Decimal(50)), wanted(max_output_tokens=150_000))


def test_yesterdays_calls_count_no_more(provider: LlmProvider) -> None:
    for _ in range(5):
        costs.reserve(provider, Scope(), wanted())
    LlmCall.objects.update(created_at=Now() - timedelta(days=1))
    assert costs.spent_today("m") == 0
    costs.reserve(provider, Scope(), wanted())


def test_a_model_without_a_price_is_never_capped(provider: LlmProvider) -> None:
    LlmProvider.objects.update(
        input_usd_per_million=0, output_usd_per_million=0, cached_usd_per_million=0, daily_cap_usd=0
    )
    provider.refresh_from_db()
    assert costs.reserve(provider, Scope(), wanted()).cost_usd == 0


def test_calls_whose_process_ended_are_settled_at_their_most(provider: LlmProvider) -> None:
    gone = costs.reserve(provider, Scope(), wanted())
    LlmCall.objects.filter(pk=gone.pk).update(job_id="no-such-job", answer={"a": 1})
    old = costs.reserve(provider, Scope(), wanted())
    LlmCall.objects.filter(pk=old.pk).update(created_at=Now() - timedelta(minutes=20))
    costs.reserve(provider, Scope(), wanted())
    LlmCall.objects.filter(pk=gone.pk).update(created_at=Now() - timedelta(days=2))

    assert costs.sweep() == {"ended": 2, "answers_forgotten": 1}
    gone.refresh_from_db()
    assert (gone.cost_usd, gone.error) == (Decimal("0.4"), costs.CUT_OFF)
    assert LlmCall.objects.filter(finished_at__isnull=True).count() == 1


def test_the_estimate_is_corrected_by_what_was_counted(provider: LlmProvider) -> None:
    assert costs.tokens_correction(provider) == 1.0
    for tokens in (66_000, 78_000):
        call = costs.reserve(provider, Scope(), wanted())
        costs.settle(call, Decimal(0), Usage(input=tokens, output=1))
    assert costs.tokens_correction(provider) == pytest.approx(1.2)


def test_prices_are_known_of_dated_names_too() -> None:
    assert price_of("claude-haiku-4-5-20251001") == price_of("claude-haiku-4-5")
    assert price_of("gpt-5.4-mini-2026-03-17") == price_of("gpt-5.4-mini")
    assert price_of("gpt-5.4-mini-plus") is None
    assert price_of("llama") is None


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    made: list[threading.Thread] = []
    yield made
    for thread in made:
        thread.join()


@pytest.mark.django_db(transaction=True)
def test_sixteen_at_once_do_not_exceed_a_cap(provider: LlmProvider, threads: list[threading.Thread]) -> None:
    began, refused = threading.Barrier(16), []

    def reserve() -> None:
        try:
            began.wait()
            costs.reserve(provider, Scope(), wanted())
        except LlmCapped as exc:
            refused.append(exc)
        finally:
            connections.close_all()

    threads += [threading.Thread(target=reserve) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (LlmCall.objects.count(), len(refused)) == (5, 11)
    assert costs.spent_today("m") == Decimal(2)
    assert connection.is_usable()
