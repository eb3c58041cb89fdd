"""What an operator can do to schedules. The admin, the API and the commands all come here."""

import json
from typing import Any

from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobs.lanes import QUEUES
from jobs.ledger.door import sent_by
from jobs.ledger.errors import JobRefused
from jobs.models import Job
from jobs.operators.actors import Actor
from jobs.operators.jobs import Enqueued
from jobs.registry import ArgumentsDoNotFit, check_arguments, find_task


class ScheduleNotFound(LookupError):
    """No schedule has this id or name."""


class ScheduleUnusable(ValueError):
    """The schedule's arguments or headers cannot be read; the message says which."""


def find_schedule(id_or_name: int | str) -> PeriodicTask:
    """By id, or else by name. Raises ScheduleNotFound, naming what there is."""
    schedules = PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked")
    text = str(id_or_name)
    # More digits than a Postgres integer has would be an error there.
    if text.isascii() and text.isdigit() and len(text) < 10:
        found = schedules.filter(pk=int(text)).first()
        if found is not None:
            return found
    found = None if "\x00" in text else schedules.filter(name=text).first()
    if found is None:
        known = ", ".join(sorted(PeriodicTask.objects.values_list("name", flat=True)[:50])) or "none yet"
        raise ScheduleNotFound(f"no schedule {text[:200]!r}; there are: {known}")
    return found


def set_enabled(actor: Actor, schedule_id: int | str, enabled: bool) -> PeriodicTask:
    """Switch a schedule on or off; beat picks it up within seconds. Doing so again changes nothing.

    Raises PermissionDenied (django_celery_beat.change_periodictask) or ScheduleNotFound.
    """
    actor.require("django_celery_beat.change_periodictask")
    with transaction.atomic():
        found = find_schedule(schedule_id)
        change: dict[str, Any] = {"enabled": enabled, "date_changed": timezone.now()}
        if enabled:
            # Counted from now: with its old last run, it would be overdue and run at once.
            change["last_run_at"] = None
        # Not save(): that forgets the last run of a schedule that is switched off.
        if PeriodicTask.objects.filter(pk=found.pk, enabled=not enabled).update(**change):
            PeriodicTasks.update_changed()
            actor.record(f"schedule.{'enable' if enabled else 'disable'}", found.pk, name=found.name)
    found.refresh_from_db()
    return found


def run_now(actor: Actor, schedule_id: int | str) -> Job:
    """Enqueue a schedule's job at once; when it next runs by itself stays as it is. See `enqueue_run`."""
    return enqueue_run(actor, schedule_id).job


def enqueue_run(actor: Actor, schedule_id: int | str) -> Enqueued:
    """Enqueue a schedule's job at once, also when the schedule is disabled.

    Raises PermissionDenied (jobs.enqueue_job), ScheduleNotFound, ScheduleUnusable, UnknownTask, ArgumentsDoNotFit, or
    JobRefused for what the ledger does not take, such as an unknown queue.
    """
    actor.require("jobs.enqueue_job")
    schedule = find_schedule(schedule_id)
    task = find_task(schedule.task)
    args = _read(schedule, "args", list)
    kwargs = _read(schedule, "kwargs", dict)
    headers = {**_read(schedule, "headers", dict), "periodic_task_name": schedule.name}
    try:
        check_arguments(task, args, kwargs)
    except ArgumentsDoNotFit as exc:
        raise ArgumentsDoNotFit(f"schedule {schedule.name!r}: {exc}") from None
    if schedule.queue and schedule.queue not in QUEUES:
        raise JobRefused(
            f"schedule {schedule.name!r}: unknown queue {schedule.queue!r}; choose from: {', '.join(QUEUES)}"
        )
    options = {name: getattr(schedule, name) for name in ("queue", "exchange", "routing_key", "priority")}
    options["expires"] = schedule.expire_seconds
    given = {name: value for name, value in options.items() if value is not None}
    with transaction.atomic(), sent_by("schedule", schedule.name):
        sent = task.apply_async(args, kwargs, headers=headers, **given)
        job = Job.objects.get(pk=sent.id)
        folded = bool(getattr(sent, "folded", False))
        actor.record("schedule.run", schedule.pk, name=schedule.name, job=job.pk, folded=folded)
    return Enqueued(job, folded)


def _read(schedule: PeriodicTask, field: str, expected: type) -> Any:
    """Decode one of the schedule's JSON texts; an empty one is an empty value."""
    text = getattr(schedule, field) or json.dumps(expected())
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise ScheduleUnusable(f"schedule {schedule.name!r}: its {field} are not JSON ({exc}); edit them") from None
    if not isinstance(value, expected):
        wanted = "list" if expected is list else "object"
        raise ScheduleUnusable(f"schedule {schedule.name!r}: its {field} must be a JSON {wanted}; edit them")
    return value
