"""When a schedule runs next, and what it says in words. The times are those that beat acts on."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from cron_descriptor import (
    ExpressionDescriptor,
    FormatException,
    MissingFieldException,
    Options,
    WrongArgumentException,
)
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobs.schedules.due_times import NEVER, due_times

MAX_COUNT = 100


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
        for run in islice(due_times(task, after), max(0, min(count, MAX_COUNT))):
            if task.expires is not None and run >= task.expires:
                break
            runs.append(run)
    except NEVER:
        pass
    return [run.astimezone(time_zone_of(task)) for run in runs]


def time_zone_of(task: PeriodicTask) -> Any:
    """A crontab's own time zone; TIME_ZONE for the others."""
    return task.crontab.timezone if task.crontab else timezone.get_default_timezone()


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
