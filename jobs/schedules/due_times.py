"""The canonical due times of a schedule: the same for every process that asks, whenever it asks.

An interval is due at `start + k * every`, from its start time or 1970-01-01T00:00Z, in real time; a crontab by the
wall clock of its own time zone; a clocked schedule once; one of the sun at the minute of the event.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from celery.exceptions import ImproperlyConfigured
from celery.schedules import ParseException
from django_celery_beat.models import IntervalSchedule, PeriodicTask, SolarSchedule

from jobs.schedules import crontabs

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Beat looks no closer.
SHORTEST_INTERVAL = timedelta(seconds=0.1)
MINUTE = timedelta(minutes=1)
#: What is raised for a timetable that cannot be read, or a time that no calendar has.
NEVER = (ValueError, RuntimeError, OverflowError, ImproperlyConfigured, ParseException)


def due_times(task: PeriodicTask, after: datetime) -> Iterator[datetime]:
    """Times in UTC, rising, later than `after` and not before the schedule's start.

    A clocked time is given also when it has passed: it is owed until it is recorded. Whether the schedule is enabled,
    has expired or has had its single run is the caller's to judge. Raises one of NEVER for what cannot be read.
    """
    after = after.astimezone(UTC)
    start = task.start_time.astimezone(UTC) if task.start_time else None
    if task.clocked:
        clocked = task.clocked.clocked_time.astimezone(UTC)
        yield max(clocked, start or clocked)
    elif task.interval:
        yield from _interval(task.interval, start, after)
    else:
        if start and start > after:
            # So that a start at a due time is itself a run.
            after = start - timedelta(microseconds=1)
        if task.crontab:
            parts = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
            fields = crontabs.parse(*(str(getattr(task.crontab, part)) for part in parts))
            yield from crontabs.due_times(fields, task.crontab.timezone, after)
        elif task.solar:
            yield from _solar(task.solar, after)


def interval_of(interval: IntervalSchedule) -> timedelta:
    """Raises ValueError for one that does not go forward."""
    every = timedelta(**{interval.period: interval.every})
    if every <= timedelta():
        raise ValueError(f"an interval of {interval.every} {interval.period} never ends; take 1 or more")
    return max(every, SHORTEST_INTERVAL)


def _interval(interval: IntervalSchedule, start: datetime | None, after: datetime) -> Iterator[datetime]:
    every, start = interval_of(interval), start or EPOCH
    due = start if after < start else start + every * ((after - start) // every + 1)
    while True:
        yield due
        due += every


def _solar(solar: SolarSchedule, after: datetime) -> Iterator[datetime]:
    """By the minute: the library's answer differs by fractions of a second with the time that is asked from."""
    event = solar.schedule
    asked = after
    while True:
        event.nowfun = lambda asked=asked: asked
        due = asked + event.remaining_estimate(asked)
        due = due.astimezone(UTC).replace(second=0, microsecond=0)
        if due > after + MINUTE:
            yield due
            after = due
        asked = max(due, asked) + 10 * MINUTE
