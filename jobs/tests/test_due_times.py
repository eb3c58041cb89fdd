"""When schedules are due through clock changes: daily ones once a day, hourly ones every hour, in every time zone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones

import pytest
from celery.schedules import crontab as celery_crontab
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.schedules.crontabs import due_times, parse

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
#: With gaps and overlaps at midnight, of half an hour, of two hours, in winter, around Ramadan.
SAMPLE = (
    *("America/New_York", "Europe/Lisbon", "Europe/Dublin", "Australia/Lord_Howe", "Antarctica/Troll"),
    *("Africa/Cairo", "Asia/Beirut", "America/Havana", "America/Santiago", "Africa/Casablanca", "Pacific/Easter"),
)


def dues(text: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    return list(takewhile(lambda due: due <= end, due_times(parse(*text.split()), ZoneInfo(zone), start)))


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """The minutes at which the zone's clock is moved, in UTC."""
    return tuple(_changes(ZoneInfo(zone)))


def _changes(zone: ZoneInfo) -> Iterator[datetime]:
    day = FIRST
    while day < LAST:
        step, moment = timedelta(days=1), day
        while day.astimezone(zone).utcoffset() != (day + timedelta(days=1)).astimezone(zone).utcoffset():
            if step == timedelta(days=1):
                step = MINUTE * 15
            if moment.astimezone(zone).utcoffset() != (moment + step).astimezone(zone).utcoffset():
                yield moment + step
                break
            moment += step
        day += timedelta(days=1)


def check_zone(zone: str) -> None:
    for change in changes(zone):
        day = change.astimezone(ZoneInfo(zone)).date()
        for minute in range(0, 24 * 60, 30):
            check_daily(zone, day, minute // 60, minute % 60)
        for text, most in (("0 * * * *", HOUR), ("30 * * * *", HOUR), ("*/10 * * * *", 10 * MINUTE)):
            found = dues(text, zone, change - 30 * HOUR, change + 30 * HOUR)
            gaps = [later - earlier for earlier, later in pairwise(found)]
            assert max(gaps) <= most, (zone, text, change)
            assert min(gaps) > timedelta(), (zone, text, change)


def check_daily(zone: str, day: date, hour: int, minute: int) -> None:
    """Exactly one run for each of the days around a change, at its time of the wall or as much later as it moved."""
    around = {day + timedelta(days=n) for n in range(-2, 3)}
    start = datetime.combine(min(around), datetime.min.time(), UTC) - 20 * HOUR
    found = dues(f"{minute} {hour} * * *", zone, start, start + timedelta(days=8))
    walls = [due.astimezone(ZoneInfo(zone)) for due in found]
    runs = [wall for wall in walls if wall.date() in around]
    moved = [wall for wall in runs if (wall.hour, wall.minute) != (hour, minute)]
    assert sorted(wall.date() for wall in runs) == sorted(around), (zone, day, hour, minute)
    assert len(moved) <= 1
    assert all(wall.fold == 0 for wall in runs), (zone, day, hour, minute)


@pytest.mark.parametrize("zone", SAMPLE)
def test_daily_runs_come_once_a_day_and_hourly_ones_hourly(zone: str) -> None:
    assert changes(zone)
    check_zone(zone)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_daily_runs_come_once_a_day_and_hourly_ones_hourly_in_all_zones() -> None:
    zones = sorted(zone for zone in available_timezones() if changes(zone))
    assert len(zones) > 100
    for zone in zones:
        check_zone(zone)


def test_a_skipped_time_runs_as_much_later_as_the_clock_moved() -> None:
    start = datetime(2026, 10, 3, 0, 0, tzinfo=UTC)
    assert dues("10 2 * * *", "Australia/Lord_Howe", start, start + 24 * HOUR) == [
        datetime(2026, 10, 3, 15, 40, tzinfo=UTC)  # 02:40 by the wall, which has no 02:10 that day
    ]


def test_a_day_that_a_country_leaves_out_is_not_made_up_for_twice() -> None:
    start = datetime(2011, 12, 29, 0, 0, tzinfo=UTC)
    days = [
        due.astimezone(ZoneInfo("Pacific/Apia")).day
        for due in dues("30 9 * * *", "Pacific/Apia", start, start + 96 * HOUR)
    ]
    assert days == [29, 31, 1, 2]


def test_every_few_minutes_of_an_hour_run_through_both_passes_of_it() -> None:
    start = datetime(2026, 11, 1, 4, 0, tzinfo=UTC)
    assert len(dues("*/15 1 * * *", "America/New_York", start, start + 10 * HOUR)) == 8
    assert len(dues("0,30 1 * * *", "America/New_York", start, start + 10 * HOUR)) == 2


@pytest.mark.parametrize(("text", "years"), [("0 0 29 2 *", [2028, 2032]), ("0 0 29 2 1", [2044, 2072])])
def test_29_february_comes_in_leap_years(text: str, years: list[int]) -> None:
    runs = due_times(parse(*text.split()), ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC))
    assert [next(runs).year, next(runs).year] == years


def test_dates_that_never_come_end_at_once() -> None:
    with pytest.raises(ValueError, match="day"):
        parse("0", "0", "30", "2", "*")
    assert list(due_times(parse("0", "0", "31", "4,5", "*"), ZoneInfo("UTC"), datetime(9998, 8, 1, tzinfo=UTC))) == []


field = st.sampled_from
CRONTABS = st.tuples(
    *(field(["*", "*/7", "0", "5,35", "50-59"]), field(["*", "*/5", "0", "2,14", "9-17"])),
    *(field(["*", "1", "31", "*/10"]), field(["*", "2", "1,7"]), field(["*", "1-5", "0"])),
)


@settings(max_examples=150, deadline=None)
@given(CRONTABS, st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001
def test_without_clock_changes_runs_are_celerys(texts: tuple[str, ...], after: datetime) -> None:
    minute, hour, day, month, weekday = texts
    try:
        known = celery_crontab(minute, hour, weekday, day, month)
    except ValueError:
        return
    known.tz = UTC
    after = expected = after.replace(tzinfo=UTC, microsecond=0)
    runs = due_times(parse(*texts), ZoneInfo("UTC"), after)
    for _ in range(3):
        known.nowfun = lambda now=expected: now
        expected += known.remaining_estimate(expected)
        assert next(runs) == expected, texts
