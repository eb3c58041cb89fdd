"""Days are days of the clock and hours are exact, at each clock change of each zone from 1990 to 2037."""

import functools
import random
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import pytest

from reminders import clocks
from reminders.clocks import BadDuration, Duration, QuietHours, instant, local, parse_duration, shifted
from reminders.tests.factories import at

FIRST, LAST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)
#: By the hour, half an hour and a whole day; across midnight; on other days than Sundays; in Ramadan; given up.
SAMPLE = [
    *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"),
    *("Africa/Casablanca", "America/Havana", "Asia/Tehran", "America/Sao_Paulo", "Antarctica/Troll"),
]
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def zones() -> list[str]:
    return sorted(name for name in zoneinfo.available_timezones() if "/" in name or name == "UTC")


@functools.cache
def changes(zone: str) -> list[datetime]:
    """The moments at which the clock is put forward or back, found by looking at it each hour, then each second."""
    info = zoneinfo.ZoneInfo(zone)
    found = []
    moment, offset = FIRST, FIRST.astimezone(info).utcoffset()
    while moment < LAST:
        following = moment + 12 * HOUR
        if following.astimezone(info).utcoffset() != offset:
            early, late = moment, following
            while late - early > timedelta(seconds=1):
                middle = early + (late - early) // 2
                if middle.astimezone(info).utcoffset() == offset:
                    early = middle
                else:
                    late = middle
            change = late.replace(microsecond=0)
            found.append(change)
            following, offset = change, change.astimezone(info).utcoffset()
        moment = following
    return found


def offset_at(moment: datetime, zone: str) -> timedelta:
    found = moment.astimezone(zoneinfo.ZoneInfo(zone)).utcoffset()
    assert found is not None
    return found


def check_gap_and_overlap(change: datetime, zone: str) -> None:
    """RFC 5545, 3.3.5: what is skipped has the offset before the change; of what comes twice, the first is meant."""
    before, after = offset_at(change - MINUTE, zone), offset_at(change, zone)
    old, new = (change + before).replace(tzinfo=None), (change + after).replace(tzinfo=None)
    assert local(change, zone) == new
    assert local(change - MINUTE, zone) == old - MINUTE
    if new > old:
        step = (new - old) // 4
        for skipped in (old, old + step, new - step):
            assert instant(skipped, zone) == skipped.replace(tzinfo=UTC) - before
            assert local(instant(skipped, zone), zone) == skipped + (new - old)
        assert instant(new, zone) == change
    elif new < old:
        step = (old - new) // 4
        for doubled in (new, new + step, old - step):
            assert instant(doubled, zone) == doubled.replace(tzinfo=UTC) - before
            assert instant(doubled, zone) < change
        assert instant(old, zone) == change + (old - new)
    assert instant(old - MINUTE, zone) == change - MINUTE


def check_days_and_hours(change: datetime, zone: str) -> None:
    """A day moves the date and keeps the clock, whatever lies between; an hour is 3600 seconds."""
    around = local(change, zone).replace(minute=30, second=0)
    for hours in (-26, -24, -3, -1, 0, 1, 3, 24, 26):
        start = around + hours * HOUR
        for days in (-7, -1, 1, 7):
            there = shifted(start, zone, Duration(days=days))
            wanted = start + days * DAY
            if local(there, zone) != wanted:  # the clock skips it
                assert there == wanted.replace(tzinfo=UTC) - offset_at(there - DAY, zone) or in_gap(wanted, zone)
        for seconds in (-86400, -3600, -90, 1, 3600, 86400):
            assert shifted(start, zone, Duration(seconds=seconds)) == instant(start, zone) + timedelta(seconds=seconds)
        both = shifted(start, zone, Duration(days=-1, seconds=-3600))
        assert both == shifted(start, zone, Duration(days=-1)) - HOUR


def in_gap(wall: datetime, zone: str) -> bool:
    info = zoneinfo.ZoneInfo(zone)
    return all(
        wall.replace(tzinfo=info, fold=fold).astimezone(UTC).astimezone(info).replace(tzinfo=None) != wall
        for fold in (0, 1)
    )


QUIET = [
    *(QuietHours(time(22), time(7)), QuietHours(time(1), time(2, 30)), QuietHours(time(2, 15), time(2, 45))),
    *(QuietHours(time(23, 30), time(0, 30)), QuietHours(time(0), time(3)), QuietHours(time(3), time(1))),
]


def is_quiet(quiet: QuietHours, moment: datetime, zone: str) -> bool:
    clock = local(moment, zone).time()
    if quiet.begins <= quiet.ends:
        return quiet.begins <= clock < quiet.ends
    return clock >= quiet.begins or clock < quiet.ends


def check_quiet_hours(change: datetime, zone: str) -> None:
    """They end later, when the clock is out of them, and no later than it shows their end."""
    for quiet in QUIET:
        for minutes in (*range(-200, 200, 25), -1440, -600, 600):
            moment = change + minutes * MINUTE
            end = quiet.until(moment, zone)
            assert (end is not None) == is_quiet(quiet, moment, zone)
            if end is None:
                continue
            # A day that a zone leaves out makes one night of two.
            assert moment < end <= moment + 50 * HOUR
            assert not is_quiet(quiet, end, zone), (zone, moment, end, quiet)
            wall = local(end, zone)
            assert (
                wall.time() == quiet.ends
                or in_gap(datetime.combine(wall.date(), quiet.ends), zone)
                or end in set(changes(zone))
            )


def check_all(zone: str) -> int:
    for change in changes(zone):
        check_gap_and_overlap(change, zone)
        check_days_and_hours(change, zone)
        check_quiet_hours(change, zone)
    return len(changes(zone))


@pytest.mark.parametrize("zone", SAMPLE)
def test_clock_changes_of_some_zones(zone: str) -> None:
    chance = random.Random(zone)
    found = changes(zone)
    for change in chance.sample(found, min(len(found), 12)):
        check_gap_and_overlap(change, zone)
        check_days_and_hours(change, zone)
        check_quiet_hours(change, zone)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(8))
def test_every_clock_change_of_every_zone(part: int) -> None:
    names = zones()
    assert len(names) > 400
    assert sum(check_all(zone) for zone in names[part::8]) > 1000


# --- What people know -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "duration", "expected"),
    [
        # A day before 09:00 is 09:00; 24 hours before it are not.
        ("2026-03-29 09:00", "-P1D", "2026-03-28 08:00"),
        ("2026-03-29 09:00", "-PT24H", "2026-03-28 07:00"),
        ("2026-10-25 09:00", "-P1D", "2026-10-24 07:00"),
        ("2026-10-25 09:00", "-PT24H", "2026-10-24 08:00"),
        # An hour before what follows on a change is an hour before it.
        ("2026-03-29 03:30", "-PT1H", "2026-03-29 00:30"),
        ("2026-10-25 03:00", "-PT1H", "2026-10-25 01:00"),
        # A day before lands in the hour that is skipped, or in the first of two.
        ("2026-03-30 02:30", "-P1D", "2026-03-29 01:30"),
        ("2026-10-26 02:30", "-P1D", "2026-10-25 00:30"),
        ("2026-03-29 02:30", "PT0S", "2026-03-29 01:30"),
        ("2026-03-28 02:30", "P1DT1H", "2026-03-29 02:30"),
    ],
)
def test_reminders_around_the_clock_changes_of_berlin(start: str, duration: str, expected: str) -> None:
    naive = datetime.fromisoformat(start)
    assert shifted(naive, "Europe/Berlin", parse_duration(duration)) == at(expected)


@pytest.mark.parametrize(
    ("zone", "moment", "quiet", "expected"),
    [
        ("Europe/Berlin", "2026-03-01 22:00", ("22:00", "07:00"), "2026-03-02 06:00"),
        ("Europe/Berlin", "2026-03-01 21:30", ("22:00", "07:00"), "2026-03-02 06:00"),
        ("Europe/Berlin", "2026-03-01 20:59", ("22:00", "07:00"), None),
        ("Europe/Berlin", "2026-03-02 06:00", ("22:00", "07:00"), None),
        # The night is an hour shorter, or longer.
        ("Europe/Berlin", "2026-03-28 23:00", ("22:00", "07:00"), "2026-03-29 05:00"),
        ("Europe/Berlin", "2026-10-24 23:00", ("22:00", "07:00"), "2026-10-25 06:00"),
        # Their end is skipped: they are over when the clock has passed it.
        ("Europe/Berlin", "2026-03-29 00:30", ("22:00", "02:30"), "2026-03-29 01:00"),
        # Their end comes twice: the second time they end again.
        ("Europe/Berlin", "2026-10-25 00:15", ("22:00", "02:30"), "2026-10-25 00:30"),
        ("Europe/Berlin", "2026-10-25 00:45", ("22:00", "02:30"), None),
        ("Europe/Berlin", "2026-10-25 01:15", ("22:00", "02:30"), "2026-10-25 01:30"),
        # The day of their end is left out: the night goes on.
        ("Pacific/Apia", "2011-12-30 09:00", ("22:00", "07:00"), "2011-12-30 17:00"),
        ("UTC", "2026-03-01 12:00", ("12:00", "12:00"), None),
        ("UTC", "2026-03-01 00:00", ("00:00", "23:59"), "2026-03-01 23:59"),
    ],
)
def test_quiet_hours(zone: str, moment: str, quiet: tuple[str, str], expected: str | None) -> None:
    begins, ends = map(time.fromisoformat, quiet)
    assert QuietHours(begins, ends).until(at(moment), zone) == (at(expected) if expected else None)


def test_a_day_is_over_at_the_next_midnight_also_where_the_clock_skips_it() -> None:
    assert clocks.end_of_day(date(2026, 3, 28), "Europe/Berlin") == at("2026-03-28 23:00")
    # Havana goes from midnight to one o'clock.
    assert clocks.end_of_day(date(2026, 3, 7), "America/Havana") == at("2026-03-08 05:00")


# --- Durations --------------------------------------------------------------------------------------------------------


def durations() -> Iterator[Duration]:
    chance = random.Random(5545)
    for _ in range(500):
        sign = chance.choice([1, -1])
        days = chance.choice([0, 0, 1, 6, 7, 30, 3000])
        yield Duration(sign * days, sign * chance.choice([0, 1, 59, 60, 3600, 86399, 86400, chance.randrange(10**6)]))


def test_durations_come_back_as_they_were_written() -> None:
    for duration in durations():
        assert parse_duration(str(duration)) == duration


@pytest.mark.parametrize(
    ("text", "days", "seconds"),
    [
        ("-PT15M", 0, -900),
        ("P1W", 7, 0),
        ("-P2W", -14, 0),
        ("+P1DT2H3M4S", 1, 7384),
        ("PT0S", 0, 0),
        ("-P0D", 0, 0),
        ("-P0DT0H15M0S", 0, -900),
        ("PT1H30S", 0, 3630),
        ("P3660D", 3660, 0),
    ],
)
def test_durations_are_read(text: str, days: int, seconds: int) -> None:
    assert parse_duration(text) == Duration(days, seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", "P", "-P", "PT", "P1DT", "1D", "PT-5M", "P1M", "P1Y", "P1W2D", "P1.5D", "--P1D", "PT5M\n", "P٣D"),
        *("P3661D", "PT87864H", "P99999D", "P" + "9" * 400 + "D", "pt5m", "P1D\x00"),
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadDuration, match="write"):
        parse_duration(text)
