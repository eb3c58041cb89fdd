"""What a schedule sends: its task, with arguments and options read from their texts."""

import json
from typing import Any

from celery.app.task import Task
from django_celery_beat.models import PeriodicTask

from jobs.lanes import QUEUES
from jobs.ledger.errors import JobRefused
from jobs.registry import find_task


class ScheduleUnusable(ValueError):
    """The schedule's arguments or headers cannot be read; the message says which."""


def call_of(schedule: PeriodicTask) -> tuple[Task, list[Any], dict[str, Any], dict[str, Any]]:
    """The task, its positional and named arguments, and the options of `apply_async`.

    Raises ScheduleUnusable, UnknownTask, or JobRefused for an unknown queue.
    """
    task = find_task(schedule.task)
    args, kwargs = _read(schedule, "args", list), _read(schedule, "kwargs", dict)
    if schedule.queue and schedule.queue not in QUEUES:
        raise JobRefused(
            f"schedule {schedule.name!r}: unknown queue {schedule.queue!r}; choose from: {', '.join(QUEUES)}"
        )
    options = {name: getattr(schedule, name) for name in ("queue", "exchange", "routing_key", "priority")}
    options["expires"] = schedule.expires or schedule.expire_seconds
    options = {name: value for name, value in options.items() if value is not None}
    options["headers"] = {**_read(schedule, "headers", dict), "periodic_task_name": schedule.name}
    return task, args, kwargs, options


def _read(schedule: PeriodicTask, field: str, expected: type) -> Any:
    """Decode one of the schedule's JSON texts; an empty one is an empty value."""
    text = getattr(schedule, field) or json.dumps(expected())
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ScheduleUnusable(f"schedule {schedule.name!r}: its {field} are not JSON ({exc}); edit them") from None
    if not isinstance(value, expected):
        wanted = "list" if expected is list else "object"
        raise ScheduleUnusable(f"schedule {schedule.name!r}: its {field} must be a JSON {wanted}; edit them")
    return value
