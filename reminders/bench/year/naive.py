"""Clocks by brute force: for the model alone, and written apart from `reminders.clocks`.

Nothing is computed with local times here: instants are tried, one after the other, until their local time fits.
"""

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

_QUARTER = timedelta(minutes=15)
_MINUTE = timedelta(minutes=1)


def reading(instant: datetime, zone: str) -> datetime:
    """What a clock on the wall shows."""
    return instant.astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None, fold=0)


@lru_cache(maxsize=200_000)
def first_instant(wall: datetime, zone: str) -> datetime:
    """The first instant at which the clock shows this; of a time that it skips, by the offset before the change."""
    for quarters in range(-60, 61):
        tried = wall.replace(tzinfo=UTC) + quarters * _QUARTER
        if reading(tried, zone) == wall:
            return tried
    day_before = wall.replace(tzinfo=UTC) - timedelta(days=1)
    return wall.replace(tzinfo=UTC) - (reading(day_before, zone) - day_before.replace(tzinfo=None))


def when(day: date, clock: time, zone: str, days: int = 0, minutes: int = 0) -> datetime:
    """So many days of the calendar and exact minutes after a local time."""
    return first_instant(datetime.combine(day, clock) + timedelta(days=days), zone) + timedelta(minutes=minutes)


def quiet_ends(instant: datetime, zone: str, begins: time, ends: time) -> datetime:
    """The first minute from an instant on that is not quiet. begins is in the evening, ends in the morning."""
    while reading(instant, zone).time() >= begins or reading(instant, zone).time() < ends:
        instant += _MINUTE
    return instant


def next_due(rule: tuple[str, int, tuple[int, ...]], due: date) -> date:
    """The next date of a rule, day by day. rule: daily or weekly, interval, weekdays from Monday 0 (weekly)."""
    kind, interval, weekdays = rule
    if kind == "daily":
        return due + timedelta(days=interval)
    day = due
    while True:
        day += timedelta(days=1)
        weeks = (_monday(day) - _monday(due)).days // 7
        if day.weekday() in weekdays and weeks % interval == 0:
            return day


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
