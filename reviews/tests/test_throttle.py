"""The allowance that all workers share."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

from reviews.services import throttle
from reviews.services.throttle import Limit, Throttled

pytestmark = pytest.mark.django_db

KEY = "github:installation:1"
HOURLY = Limit("requests", spacing_seconds=3600, burst=3)


def refused(**options: Any) -> Throttled:
    with pytest.raises(Throttled) as raised:
        throttle.spend(KEY, **options)
    return raised.value


def test_what_is_used_up_is_told_with_the_time_until_there_is_more() -> None:
    for _ in range(3):
        throttle.spend(KEY, limits=[HOURLY])

    told = refused(limits=[HOURLY])

    assert 3000 < told.seconds <= 3600
    assert KEY in str(told)
    assert "requests" in str(told)


def test_a_refused_call_takes_nothing() -> None:
    for _ in range(3):
        throttle.spend(KEY, limits=[HOURLY])
    other = Limit("others", spacing_seconds=3600, burst=1)

    refused(limits=[HOURLY, other])

    throttle.spend(KEY, limits=[other])


def test_what_was_used_long_ago_counts_no_more() -> None:
    for _ in range(3):
        throttle.spend(KEY, limits=[HOURLY])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE reviews_outsidelimit SET full_at = full_at - interval '2 hours'")

    throttle.spend(KEY, limits=[HOURLY])
    throttle.spend(KEY, limits=[HOURLY])
    refused(limits=[HOURLY])


def test_a_short_wait_is_waited_for_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(throttle, "time", SimpleNamespace(sleep=slept.append))  # of nobody else's thread

    for _ in range(7):
        throttle.spend(KEY, limits=[Limit("requests", spacing_seconds=600, burst=4)], patience_seconds=1800)

    # Four at once, then each has its turn ten minutes after the other, though no time went by.
    assert [round(seconds / 600) for seconds in slept] == [1, 2, 3]


def test_writes_stay_below_githubs_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "time", SimpleNamespace(sleep=lambda seconds: None))

    assert 40 < turns(KEY, within_seconds=59) < 80
    assert 490 < most("write-hour", in_seconds=3600) <= 500
    assert most("write", in_seconds=60) < 80
    assert most("points", in_seconds=60) <= 900


def most(name: str, in_seconds: float) -> float:
    (limit,) = [limit for limit in throttle.GITHUB_WRITE if limit.name == name]
    return limit.burst + in_seconds / limit.spacing_seconds


def turns(key: str, within_seconds: float) -> int:
    """How often one may write."""
    for number in range(1000):
        try:
            throttle.spend(key, write=True, patience_seconds=within_seconds)
        except Throttled:
            return number
    raise AssertionError("without limit")


def test_what_github_asked_for_holds_for_everybody_until_it_is_over() -> None:
    throttle.close(KEY, 3600, "GitHub asked for an hour")
    throttle.close(KEY, 60, "and for less, later")

    told = refused()
    assert 3000 < told.seconds <= 3600
    assert 3000 < throttle.closed_for(KEY) <= 3600
    throttle.spend("github:installation:2")

    with connection.cursor() as cursor:
        cursor.execute("UPDATE reviews_outsidelimit SET closed_until = clock_timestamp() - interval '1 second'")
    throttle.spend(KEY)


def test_a_key_of_another_kind_has_no_limits_but_can_be_closed() -> None:
    for _ in range(400):
        throttle.spend("llm:one", write=True)
    throttle.close("llm:one", 3600, "429 of the provider")

    with pytest.raises(Throttled, match=r"429 of the provider; again in 3[0-6]\d\d s"):
        throttle.spend("llm:one")


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_take_no_more_than_there_is() -> None:
    limits = [Limit("first", 3600, 10), Limit("second", 3600, 25)]

    def take(_: int) -> bool:
        try:
            throttle.spend(KEY, limits=limits)
        except Throttled:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(40))) == 10
