"""When a schedule runs next, and what it says in words.

The times are those that beat acts on, clock changes included: a daily 02:30 that the clock skips runs an hour later
by the wall (03:30); a time that comes twice runs once, the first time; a crontab for every hour, or every few
minutes, leaves out the whole repeated hour. An interval counts real time and knows no clock changes; so does a
crontab in UTC.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from celery.exceptions import ImproperlyConfigured
from celery.schedules import BaseSchedule
from cron_descriptor import (
    ExpressionDescriptor,
    FormatException,
    MissingFieldException,
    Options,
    WrongArgumentException,
)
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

MAX_COUNT = 100
#: What celery.schedules raises for a time that no calendar has, such as 30 February.
NEVER = (ValueError, RuntimeError, OverflowError, ImproperlyConfigured)


def next_runs(task: PeriodicTask, count: int = 5, after: datetime | None = None) -> list[datetime]:
    """The next `count` (at most 100) times after `after` (now), aware and in the schedule's own time zone.

    Fewer if the schedule ends before; none if it is disabled, expired, has done its one run, or can never be due. A
    single time that passed while no beat was running is listed, since beat makes up for it.
    """
    after = (after or timezone.now()).astimezone(UTC)
    if not task.enabled or (task.one_off and task.total_run_count > 0):
        return []
    if task.one_off:
        count = min(count, 1)
    runs = []
    try:
        for run in islice(_runs(task, after), max(0, min(count, MAX_COUNT))):
            if task.expires is not None and run >= task.expires:
                break
            runs.append(run)
    except NEVER:
        pass
    return [run.astimezone(time_zone_of(task)) for run in runs]


def time_zone_of(task: PeriodicTask) -> Any:
    """A crontab's own time zone; TIME_ZONE for the others."""
    return task.crontab.timezone if task.crontab else timezone.get_default_timezone()


def _runs(task: PeriodicTask, after: datetime) -> Iterator[datetime]:
    """Times in UTC, without end, later than `after` and not before the schedule's start."""
    if task.clocked:
        yield max(task.clocked.clocked_time, task.start_time or task.clocked.clocked_time).astimezone(UTC)
    elif task.interval:
        yield from _interval_runs(task, task.interval, after)
    elif task.crontab or task.solar:
        if task.start_time and task.start_time > after:
            # So that a start at a due time is itself a run.
            after = task.start_time.astimezone(UTC) - timedelta(microseconds=1)
        schedule = task.schedule
        while True:
            after = _next(schedule, after)
            yield after


def _next(schedule: BaseSchedule, after: datetime) -> datetime:
    """Ask Celery's own schedule, as if it had last run at `after`."""
    schedule.nowfun = lambda: after
    return after + schedule.remaining_estimate(after)


def _interval_runs(task: PeriodicTask, interval: IntervalSchedule, after: datetime) -> Iterator[datetime]:
    every = timedelta(**{interval.period: interval.every})
    if every <= timedelta():
        return
    last = task.last_run_at or task.date_changed or after
    run = (last + every).astimezone(UTC)
    if task.start_time and (task.last_run_at is None or run < task.start_time):
        run = task.start_time.astimezone(UTC)
    if run <= after:
        run += every * ((after - run) // every + 1)
    while True:
        yield run
        run += every


def describe_schedule(task: PeriodicTask) -> str:
    """In words: "every 15 minutes", "at 03:30 daily, Europe/Lisbon"."""
    if task.crontab:
        text = _crontab_words(task.crontab)
    elif task.interval:
        text = str(task.interval)
    elif task.clocked:
        text = f"once at {task.clocked.clocked_time.astimezone(timezone.get_default_timezone()):%Y-%m-%d %H:%M:%S %Z}"
    elif task.solar:
        text = f"at {task.solar.get_event_display().lower()} at {task.solar.latitude}, {task.solar.longitude}"
    else:
        return "never: it has no interval, crontab, clocked time or solar event"
    return f"{text}, one run only" if task.one_off and not task.clocked else text


def _crontab_words(crontab: CrontabSchedule) -> str:
    fields = [crontab.minute, crontab.hour, crontab.day_of_month, crontab.month_of_year, crontab.day_of_week]
    expression = " ".join(str(field).replace(" ", "") or "*" for field in fields)
    options = Options()
    options.use_24hour_time_format = True
    try:
        words = ExpressionDescriptor(expression, options).get_description()
    except (FormatException, MissingFieldException, WrongArgumentException):
        words = expression
    words = words[:1].lower() + words[1:]
    if words.startswith("at ") and expression.endswith(" * * *"):
        words += " daily"
    return f"{words}, {crontab.timezone}"
