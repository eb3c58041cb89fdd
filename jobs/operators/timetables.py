"""When a schedule runs, as people write it: an interval, a crontab, a single time, or an event of the sun.

A part that cannot be is told under its own name, such as `crontab.minute`.
"""

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn
from zoneinfo import ZoneInfo, available_timezones

from celery.schedules import ParseException, crontab_parser
from django.core.exceptions import ValidationError
from django.utils import timezone
from django_celery_beat.models import (
    SOLAR_SCHEDULES,
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobs.models import ScheduleTick
from jobs.schedules.next_runs import next_runs

KINDS = ("interval", "crontab", "clocked", "solar")
PERIODS = ("seconds", "minutes", "hours", "days")
MAX_EVERY = 100_000
CRON_PARTS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
#: For each part how many values it has, and the least.
_CRON_VALUES = dict(zip(CRON_PARTS, ((60, 0), (24, 0), (31, 1), (12, 1), (7, 0)), strict=True))
_DAYS = re.compile(r"(?:0?(\d)-)?0?(\d)(?:/(\d))?", re.ASCII)
EVENTS = tuple(event for event, _ in SOLAR_SCHEDULES)
#: At the ends of the calendar, another time zone's year is one that Python does not have.
EARLIEST_YEAR, LATEST_YEAR = 1970, 9000


class ScheduleRefused(ValueError):
    """No schedule can be like this. `errors`: for each part that is wrong, what is wrong and what to do."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" if name else text for name, text in errors.items()))
        self.errors = errors


def refuse(name: str, text: str) -> NoReturn:
    raise ScheduleRefused({name: text})


def parse_every(text: str) -> dict[str, Any]:
    """`15 minutes` as an interval. Raises ScheduleRefused."""
    number, _, period = text.strip().partition(" ")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        refuse("interval", f"{text[:80]!r} is not a number and a unit, such as '15 minutes'")
    period = period.strip().lower()
    return {"every": int(number), "period": period if period in PERIODS else f"{period}s"}


def parse_cron(text: str, zone: Any = None) -> dict[str, Any]:
    """Five parts, as in a crontab. Raises ScheduleRefused."""
    parts = text.split()
    if len(parts) != len(CRON_PARTS):
        refuse("crontab", f"expected five parts, as in 30 8 * * 1-5, but {len(parts)} came")
    return {**dict(zip(CRON_PARTS, parts, strict=True)), "timezone": zone}


def find_timetable(kind: str, given: Any) -> Any:
    """The stored timetable of this kind, or a new one, not stored yet. Raises ScheduleRefused.

    interval: {every, period}. crontab: {minute, hour, day_of_month, month_of_year, day_of_week, timezone}, of which
    only the minute must be given. clocked: {at}. solar: {event, latitude, longitude}.
    """
    if not isinstance(given, dict):
        refuse(kind, f"must be an object, not {type(given).__name__}")
    makers = {"interval": _interval, "crontab": _crontab, "clocked": _clocked, "solar": _solar}
    return makers[kind](given)


def check_year(name: str, value: datetime) -> None:
    if not EARLIEST_YEAR <= value.year <= LATEST_YEAR:
        refuse(name, f"the year {value.year} is absurd; choose one from {EARLIEST_YEAR} to {LATEST_YEAR}")


def check_runs(schedule: PeriodicTask) -> None:
    """Refuse one that is enabled and has no next run. Raises ScheduleRefused."""
    if not schedule.enabled:
        return
    runs = next_runs(schedule, 1)
    if runs:
        _check_is_owed(schedule, runs[0])
        return
    expires, schedule.expires = schedule.expires, None
    first = next_runs(schedule, 1)
    schedule.expires = expires
    if first and expires:
        when = f"its next run would be at {first[0].isoformat()}, and it ends at {expires.isoformat()}"
        refuse("expires", f"it would never run: {when}; choose a later end, or switch it off")
    kind = next((name for name in KINDS if getattr(schedule, name) is not None), "")
    refuse(kind, "it would never run, for no day is like that; choose other times, or switch it off")


def _check_is_owed(schedule: PeriodicTask, run: datetime) -> None:
    """A single time that has had its tick has no other."""
    if schedule.clocked and schedule.pk and ScheduleTick.objects.filter(schedule=schedule.pk, due_at=run).exists():
        refuse("clocked", f"its one time, {run.isoformat()}, has been dealt with; choose a time to come, or run it now")


def check_crontab(timetable: CrontabSchedule) -> CrontabSchedule:
    """The crontab with Sundays written as Celery reads them. Raises ScheduleRefused, also for dates that never come."""
    parts = {name: str(getattr(timetable, name)) for name in CRON_PARTS}
    checked = find_timetable("crontab", {**parts, "timezone": timetable.timezone})
    check_runs(PeriodicTask(enabled=True, crontab=checked))
    return CrontabSchedule(**{name: getattr(checked, name) for name in (*CRON_PARTS, "timezone")})


def _needed(kind: str, given: dict[str, Any], *names: str) -> list[Any]:
    unknown = [name for name in given if name not in (*names, *CRON_PARTS, "timezone")]
    missing = {f"{kind}.{name}": "this kind of schedule needs it" for name in names if given.get(name) in (None, "")}
    if unknown or missing:
        raise ScheduleRefused({f"{kind}.{name}": "unknown part" for name in unknown} | missing)
    return [given[name] for name in names]


def _interval(given: dict[str, Any]) -> Any:
    every, period = _needed("interval", given, "every", "period")
    if isinstance(every, bool) or not isinstance(every, int) or not 1 <= every <= MAX_EVERY:
        refuse("interval.every", f"{every!r:.40} is not a whole number from 1 to {MAX_EVERY}; take a larger unit")
    if period not in PERIODS:
        refuse("interval.period", f"unknown unit {period!r:.40}; choose from: {', '.join(PERIODS)}")
    return _found_or_new(IntervalSchedule, every=every, period=period)


def _clocked(given: dict[str, Any]) -> Any:
    (at,) = _needed("clocked", given, "at")
    check_year("clocked.at", at)
    return _found_or_new(ClockedSchedule, clocked_time=at)


def _solar(given: dict[str, Any]) -> Any:
    event, *place = _needed("solar", given, "event", "latitude", "longitude")
    if event not in EVENTS:
        refuse("solar.event", f"unknown event {event!r:.40}; choose from: {', '.join(EVENTS)}")
    latitude, longitude = _degrees("latitude", place[0], 90), _degrees("longitude", place[1], 180)
    return _found_or_new(SolarSchedule, event=event, latitude=latitude, longitude=longitude)


def _degrees(name: str, value: Any, most: int) -> Decimal:
    try:
        degrees = Decimal(str(value))
    except InvalidOperation:
        degrees = Decimal("NaN")
    if not degrees.is_finite() or not -most <= degrees <= most:
        refuse(f"solar.{name}", f"{value!s:.40} is not a number of degrees from -{most} to {most}")
    return degrees.quantize(Decimal("0.000001"))


def _crontab(given: dict[str, Any]) -> Any:
    _needed("crontab", {name: given[name] for name in given if name not in CRON_PARTS[1:]}, "minute")
    parts = {name: "*" if given.get(name) in (None, "") else str(given[name]) for name in CRON_PARTS}
    parts["day_of_week"] = ",".join(_sundays(part) for part in parts["day_of_week"].split(","))
    zone = given.get("timezone") or timezone.get_default_timezone_name()
    if str(zone) not in available_timezones():
        refuse("crontab.timezone", f"unknown time zone {str(zone)[:60]!r}; choose one such as Europe/Lisbon or UTC")
    timetable = _found_or_new(CrontabSchedule, **parts, timezone=ZoneInfo(str(zone)))
    try:
        timetable.full_clean(exclude=["id"], validate_unique=False)
    except ValidationError as exc:
        problems = {f"crontab.{name}": " ".join(texts) for name, texts in exc.message_dict.items()}
        raise ScheduleRefused(problems) from None
    _check_parts(parts)
    return timetable


def _sundays(part: str) -> str:
    """Write Sunday as 0, all that Celery knows: cron takes 7 for it too, alone and at an end of a range."""
    match = _DAYS.fullmatch(part.strip())
    if match is None or "7" not in (match[1], match[2]):
        return part
    if match[1] is None:
        return part if match[3] else "0"
    step = int(match[3] or 1)
    start, end = (int(day) for day in match.group(1, 2))
    if start == end:
        return "0"
    start = start if start < end else start % 7
    if not step or not start <= end <= 7:
        return part
    days = [day % 7 for day in range(start, end + 1, step)]
    return "*" if len(set(days)) == 7 else ",".join(str(day) for day in dict.fromkeys(days))


def _check_parts(parts: dict[str, str]) -> None:
    """What django-celery-beat takes and Celery cannot read would be stored, and never run. Raises ScheduleRefused."""
    for name, text in parts.items():
        try:
            crontab_parser(*_CRON_VALUES[name]).parse(text)
        except (ValueError, ParseException) as exc:
            refuse(f"crontab.{name}", f"{text[:80]!r} cannot be read ({exc}); write it as 1-5, */2 or 1,3")


def _found_or_new(model: Any, **values: Any) -> Any:
    return model.objects.filter(**values).first() or model(**values)
