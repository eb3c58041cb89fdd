"""What an operator can do to schedules. The admin, the API and the commands all come here."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobs.ledger.door import sent_by
from jobs.models import Job, ScheduleTick
from jobs.operators.actors import Actor
from jobs.operators.jobs import Enqueued
from jobs.operators.timetables import check_runs
from jobs.registry import ArgumentsDoNotFit, check_arguments
from jobs.schedules.calls import ScheduleUnusable, call_of  # noqa: F401  (raised by enqueue_run)


class ScheduleNotFound(LookupError):
    """No schedule has this id or name."""


class MayNotEnqueue(PermissionDenied):
    """A schedule sends jobs, so whoever says what it sends and when must be allowed to enqueue them."""


def all_schedules() -> QuerySet[PeriodicTask]:
    """Every schedule with all that is shown of it."""
    return PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked", "policy", "code_default")


def find_schedule(id_or_name: int | str) -> PeriodicTask:
    """A number by id; a text by id or by name.

    Raises ScheduleNotFound, naming what there is, also for a text that is the id of one schedule and the name of
    another.
    """
    schedules = all_schedules()
    text = str(id_or_name)
    # More digits than a Postgres integer has would be an error there.
    is_id = text.isascii() and text.isdigit() and len(text) < 10
    by_id = schedules.filter(pk=int(text)).first() if is_id else None
    is_name = isinstance(id_or_name, str) and "\x00" not in text
    by_name = schedules.filter(name=text).first() if is_name else None
    if by_id and by_name and by_id != by_name:
        raise ScheduleNotFound(
            f"{text!r} is the id of schedule {by_id.name!r} and the name of schedule {by_name.pk}; "
            f"for the first give its name, for the second its id"
        )
    found = by_id or by_name
    if found is None:
        known = ", ".join(sorted(PeriodicTask.objects.values_list("name", flat=True)[:50])) or "none yet"
        raise ScheduleNotFound(f"no schedule {text[:200]!r}; there are: {known}")
    return found


def require_enqueue(actor: Actor) -> None:
    """Raises MayNotEnqueue (jobs.enqueue_job)."""
    if not actor.may("jobs.enqueue_job"):
        raise MayNotEnqueue(
            f"{actor.name or 'anonymous'} lacks the permission jobs.enqueue_job, which it takes to make a schedule, to "
            "switch one on, and to change its task, arguments or times"
        )


def set_enabled(actor: Actor, schedule_id: int | str, enabled: bool) -> PeriodicTask:
    """Switch a schedule on or off; beat picks it up within seconds. Doing so again changes nothing.

    Raises PermissionDenied (django_celery_beat.change_periodictask, and jobs.enqueue_job to switch it on),
    ScheduleNotFound, or ScheduleRefused for one that has no next run.
    """
    actor.require("django_celery_beat.change_periodictask")
    if enabled:
        require_enqueue(actor)
    with transaction.atomic():
        found = find_schedule(schedule_id)
        change: dict[str, Any] = {"enabled": enabled, "date_changed": timezone.now()}
        if enabled:
            # Counted from now: with its old last run, it would be overdue and run at once.
            change["last_run_at"] = None
            # One that runs a single time would be switched off for the run it had.
            change |= {"total_run_count": 0} if found.one_off else {}
            if not found.enabled:
                for name, value in change.items():
                    setattr(found, name, value)
                check_runs(found)
        # Not save(): that forgets the last run of a schedule that is switched off.
        if PeriodicTask.objects.filter(pk=found.pk, enabled=not enabled).update(**change):
            PeriodicTasks.update_changed()
            actor.record(f"schedule.{'enable' if enabled else 'disable'}", found.pk, name=found.name)
    return find_schedule(found.pk)


def ticks_of(schedule: PeriodicTask) -> QuerySet[ScheduleTick]:
    """What became of its due times of the last 30 days, the latest first."""
    return ScheduleTick.objects.filter(schedule=schedule.pk).order_by("-due_at")


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
    task, args, kwargs, options = call_of(schedule)
    # Run by hand, also after the schedule's own end.
    options.pop("expires", None)
    if schedule.expire_seconds is not None:
        options["expires"] = schedule.expire_seconds
    try:
        check_arguments(task, args, kwargs)
    except ArgumentsDoNotFit as exc:
        raise ArgumentsDoNotFit(f"schedule {schedule.name!r}: {exc}") from None
    with transaction.atomic(), sent_by("schedule", schedule.name):
        sent = task.apply_async(args, kwargs, **options)
        job = Job.objects.get(pk=sent.id)
        folded = bool(getattr(sent, "folded", False))
        actor.record("schedule.run", schedule.pk, name=schedule.name, job=job.pk, folded=folded)
    return Enqueued(job, folded)
