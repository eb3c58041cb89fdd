"""When a crontab is due, by the wall clock of its time zone, clock changes included.

A crontab for certain hours runs once for each time of the wall: one that the clock skips runs as much later as the
clock moved (02:30 at 03:30), or earlier where it would leave its day; one that comes twice runs the first time. A
crontab for every hour, or whose minutes are `*` or `*/n`, runs in real time: in the repeated hour too, and without a
longer pause than usual. As in Celery, and other than in cron, a day must fit both the day of the month and the day of
the week.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from celery.schedules import crontab

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
# The longest way back to a clock change that still moves a run: Samoa left out a day.
REACH = timedelta(hours=25)
# 29 February falls on a given weekday again after 28 years, or 40 around 2100.
HORIZON_YEARS = 41


@dataclass(frozen=True)
class Crontab:
    """What the five fields of a crontab allow. minutes_of_day: sorted, from 0 to 1439."""

    minutes_of_day: tuple[int, ...]
    days_of_week: frozenset[int]
    days_of_month: frozenset[int]
    months: frozenset[int]
    in_real_time: bool

    def is_day(self, day: date) -> bool:
        return (
            day.month in self.months
            and day.day in self.days_of_month
            and (len(self.days_of_week) == 7 or day.isoweekday() % 7 in self.days_of_week)
        )

    def next_day(self, day: date) -> date | None:
        """The first day from `day` on that fits; None if none comes."""
        last_year = min(day.year + HORIZON_YEARS, 9998)
        while day.year <= last_year:
            if day.month not in self.months:
                day = (day.replace(day=1) + 32 * DAY).replace(day=1)
            elif self.is_day(day):
                return day
            else:
                day += DAY
        return None


@lru_cache(maxsize=4096)
def parse(minute: str, hour: str, day_of_month: str, month_of_year: str, day_of_week: str) -> Crontab:
    """Read the fields as Celery does. Raises ValueError or ParseException for what it cannot read."""
    fields = crontab(
        minute=minute, hour=hour, day_of_month=day_of_month, month_of_year=month_of_year, day_of_week=day_of_week
    )
    return Crontab(
        minutes_of_day=tuple(sorted(hour * 60 + minute for hour in fields.hour for minute in fields.minute)),
        days_of_week=frozenset(fields.day_of_week),
        days_of_month=frozenset(fields.day_of_month),
        months=frozenset(fields.month_of_year),
        in_real_time=len(fields.hour) == 24 or minute.strip().startswith("*"),
    )


def due_times(fields: Crontab, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Times in UTC, rising, later than `after`; ends when the calendar has no further day like that."""
    last = start = after.astimezone(UTC)
    while True:
        # A run may be moved out of its day by a clock change, so the day before counts too.
        day = fields.next_day((start - REACH).astimezone(zone).date())
        if day is None:
            return
        start = max(start, datetime(day.year, day.month, day.day, tzinfo=UTC) - 2 * DAY)
        end = start + DAY
        for due in _within(fields, zone, start, end):
            if due > last:
                yield due
                last = due
        start = end


def _within(fields: Crontab, zone: tzinfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """The due times in (start, end], rising."""
    offset = _offset(zone, start)
    if _offset(zone, start - REACH) != offset or _offset(zone, end) != offset:
        yield from sorted(due for due in _around_a_change(fields, zone, start, end) if start < due <= end)
        return
    first, last = (start + offset).replace(tzinfo=None), (end + offset).replace(tzinfo=None)
    day = first.date()
    while day <= last.date():
        if fields.is_day(day):
            midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001  (of the wall clock)
            passed = bisect_right(fields.minutes_of_day, (first - midnight) / timedelta(minutes=1))
            for minute in fields.minutes_of_day[passed:]:
                wall = midnight + timedelta(minutes=minute)
                if wall > last:
                    return
                yield (wall - offset).replace(tzinfo=UTC)
        day += DAY


def _around_a_change(fields: Crontab, zone: tzinfo, start: datetime, end: datetime) -> set[datetime]:
    due = set()
    day, last = (start - 2 * DAY).date(), (end + 2 * DAY).date()
    while day <= last:
        if fields.is_day(day):
            for minute in fields.minutes_of_day:
                wall = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
                # By the offset before the change: a skipped time moves on, a repeated one is the first.
                first = wall.astimezone(UTC)
                if not fields.in_real_time:
                    due.add(_on_its_day(wall, first, zone))
                else:
                    due.add(first)
                    second = wall.replace(fold=1).astimezone(UTC)
                    if second > first:
                        due.add(second)
        day += DAY
    if fields.in_real_time:
        due |= _bridge(fields, zone, start, end)
    return due


def _on_its_day(wall: datetime, moved: datetime, zone: tzinfo) -> datetime:
    """A time that the clock skips to the end of the day (Nuuk: 23:00) moves back instead of on, to stay on that day."""
    back = wall.replace(fold=1).astimezone(UTC)
    is_away = moved.astimezone(zone).date() != wall.date()
    return back if is_away and back.astimezone(zone).date() == wall.date() else moved


def _bridge(fields: Crontab, zone: tzinfo, start: datetime, end: datetime) -> set[datetime]:
    """The minutes of the old offset in the first hour after a change.

    They are the new offset's own, unless the clock moves by part of an hour (Lord Howe: 30 minutes).
    """
    due = set()
    moment, until = start - REACH, end
    while moment < until:
        before = _offset(zone, moment)
        if _offset(zone, moment + HOUR) != before:
            change = _change(zone, moment, moment + HOUR)
            wall = (change + before).replace(tzinfo=None, second=0, microsecond=0)
            for _ in range(60):
                due_at = (wall - before).replace(tzinfo=UTC)
                if fields.is_day(wall.date()) and wall.hour * 60 + wall.minute in fields.minutes_of_day:
                    due.add(due_at)
                wall += timedelta(minutes=1)
        moment += HOUR
    return due


def _change(zone: tzinfo, start: datetime, end: datetime) -> datetime:
    """The first minute with another offset than `start` has."""
    offset = _offset(zone, start)
    start = start.replace(second=0, microsecond=0)
    while end - start > timedelta(minutes=1):
        middle = start + ((end - start) / 2 // timedelta(minutes=1) or 1) * timedelta(minutes=1)
        if _offset(zone, middle) == offset:
            start = middle
        else:
            end = middle
    return end.replace(second=0, microsecond=0)


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
