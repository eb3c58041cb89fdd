"""Schedules that the code brings along, and how an operator's differ from them.

The code proposes, operators decide: a schedule is made once; one that an operator has edited or deleted stays so,
whatever the code says later; one that nobody has touched follows the code.
"""

import json
from typing import Any

from django.db import connection, transaction
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobs.models import ScheduleDefault

KINDS = ("interval", "crontab", "clocked", "solar")
CRON_PARTS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_PLAIN = ("task", "queue", "priority", "enabled", "description")
# Beats that start together take turns.
_LOCK = 7_310_442

_declared: dict[str, dict[str, Any]] = {}


def default_schedule(
    name: str,
    *,
    task: str,
    args: list[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    queue: str | None = None,
    priority: int | None = None,
    enabled: bool = True,
    description: str = "",
    interval: dict[str, Any] | None = None,
    crontab: dict[str, str] | None = None,
) -> None:
    """Declare a schedule in an app's tasks.py; the first beat that starts makes it.

    interval: {every, period}. crontab: {minute, hour, …, timezone}; what is left out is `*`, the time zone UTC.
    Raises ValueError unless one of the two is given.
    """
    if (interval is None) == (crontab is None):
        raise ValueError(f"the schedule {name!r} needs an interval or a crontab, not both or neither")
    timetable = {"interval": interval} if interval else {"crontab": _crontab(crontab or {})}
    _declared[name] = {
        "task": task,
        "args": args or [],
        "kwargs": kwargs or {},
        "queue": queue,
        "priority": priority,
        "enabled": enabled,
        "description": description,
        **timetable,
    }


def _crontab(given: dict[str, str]) -> dict[str, str]:
    unknown = set(given) - {*CRON_PARTS, "timezone"}
    if unknown:
        raise ValueError(f"unknown parts of a crontab: {', '.join(sorted(unknown))}")
    return {**{part: str(given.get(part, "*")) for part in CRON_PARTS}, "timezone": given.get("timezone", "UTC")}


def store() -> None:
    """Make the schedules that were declared and never made, and bring along those that nobody edited."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        known = {default.name: default for default in ScheduleDefault.objects.all()}
        changed = [known[name] for name, spec in _declared.items() if name in known and known[name].spec != spec]
        schedules = _locked(changed)
        for default in changed:
            _follow(default, schedules.get(default.schedule_id), _declared[default.name])
        for name in _declared.keys() - known.keys():
            _make(name, _declared[name])


def spec_of(schedule: PeriodicTask) -> dict[str, Any]:
    """The parts of a schedule that the code has a say in."""
    spec: dict[str, Any] = {name: getattr(schedule, name) for name in _PLAIN}
    spec["args"], spec["kwargs"] = _decoded(schedule.args, []), _decoded(schedule.kwargs, {})
    if schedule.interval:
        spec["interval"] = {"every": schedule.interval.every, "period": schedule.interval.period}
    elif schedule.crontab:
        cron = schedule.crontab
        spec["crontab"] = {part: str(getattr(cron, part)) for part in CRON_PARTS} | {"timezone": str(cron.timezone)}
    elif schedule.clocked:
        spec["clocked"] = {"at": schedule.clocked.clocked_time.isoformat()}
    elif schedule.solar:
        solar = schedule.solar
        spec["solar"] = {"event": solar.event, "latitude": float(solar.latitude), "longitude": float(solar.longitude)}
    return spec


def differences(schedule: PeriodicTask) -> dict[str, dict[str, Any]]:
    """For each part that differs from the code's default: {"now": …, "default": …}. Empty without a default."""
    default = getattr(schedule, "code_default", None)
    if default is None:
        return {}
    now, said = {"name": schedule.name, **spec_of(schedule)}, {"name": default.name, **default.spec}
    return {
        part: {"now": now.get(part), "default": said.get(part)}
        for part in dict.fromkeys([*now, *said])
        if now.get(part) != said.get(part)
    }


def _decoded(text: str | None, empty: Any) -> Any:
    try:
        return json.loads(text or json.dumps(empty))
    except (ValueError, RecursionError):
        return text


def _make(name: str, spec: dict[str, Any]) -> None:
    schedule = PeriodicTask.objects.filter(name=name).first()
    if schedule is None:
        schedule = PeriodicTask(name=name)
        _apply(schedule, spec)
    ScheduleDefault.objects.create(name=name, spec=spec, schedule=schedule)


def _locked(defaults: list[ScheduleDefault]) -> dict[int | None, PeriodicTask]:
    """Their schedules as they are once nobody edits them, and until the transaction ends.

    All before the first change: who edits one locks it before the row that says that schedules have changed.
    """
    ids = [default.schedule_id for default in defaults]
    return {found.pk: found for found in PeriodicTask.objects.select_for_update().filter(pk__in=ids).order_by("pk")}


def _follow(default: ScheduleDefault, schedule: PeriodicTask | None, spec: dict[str, Any]) -> None:
    is_untouched = schedule is not None and schedule.name == default.name and spec_of(schedule) == default.spec
    default.spec = spec
    default.save(update_fields=["spec"])
    if schedule is not None and is_untouched:
        _apply(schedule, spec)


def _apply(schedule: PeriodicTask, spec: dict[str, Any]) -> None:
    from jobs.operators.timetables import find_timetable

    values = {name: spec[name] for name in _PLAIN} | {name: json.dumps(spec[name]) for name in ("args", "kwargs")}
    for kind in KINDS:
        values[kind] = find_timetable(kind, spec[kind]) if kind in spec else None
        if values[kind] is not None and values[kind].pk is None:
            values[kind].save()
    if schedule.pk is None:
        for name, value in values.items():
            setattr(schedule, name, value)
        schedule.save()
    else:
        # Not save(): that would put back the run that a beat has just noted.
        PeriodicTask.objects.filter(pk=schedule.pk).update(**values)
        PeriodicTasks.update_changed()
