"""Making, changing and deleting schedules. The admin's form, the API and the commands all come here.

A spec names a schedule's parts: name, task, args (list), kwargs (dict), queue, priority, enabled, one_off, start_time,
expires, expire_seconds, description, what becomes of missed ticks (catch_up, catch_up_limit, grace_seconds), and one
timetable: interval, crontab, clocked or solar, as an object (see `jobs.operators.timetables.find_timetable`).
"""

import json
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobs.lanes import QUEUES
from jobs.models import CatchUp, SchedulePolicy
from jobs.models.schedule import MAX_CATCH_UP
from jobs.operators.actors import Actor
from jobs.operators.schedules import find_schedule, require_enqueue, set_enabled
from jobs.operators.search import is_storable
from jobs.operators.timetables import KINDS, ScheduleRefused, check_runs, check_year, find_timetable, refuse
from jobs.registry import ArgumentsDoNotFit, UnknownTask, check_arguments, find_task

MAX_NAME = 200
MAX_DESCRIPTION = 10_000
MAX_EXPIRE_SECONDS = 31_536_000
PLAIN = (
    *("name", "task", "queue", "priority", "start_time", "expires", "expire_seconds", "one_off", "enabled"),
    "description",
)
#: Stored beside the schedule.
POLICY = ("catch_up", "catch_up_limit", "grace_seconds")
FIELDS = (*PLAIN, *POLICY, "args", "kwargs", *KINDS)
#: The parts that say when it runs.
WHEN = {*KINDS, "start_time", "expires", "one_off", "enabled"}
#: The audited parts that only those may change who may enqueue.
SENDS = {*KINDS, *POLICY, "start_time", "expires", "one_off", "task", "arguments"}


def create_schedule(actor: Actor, spec: dict[str, Any]) -> PeriodicTask:
    """Store a new schedule; beat picks it up within seconds.

    Raises PermissionDenied (django_celery_beat.add_periodictask and jobs.enqueue_job) or ScheduleRefused.
    """
    actor.require("django_celery_beat.add_periodictask")
    require_enqueue(actor)
    with transaction.atomic():
        return _store(actor, PeriodicTask(), spec)


def edit_schedule(actor: Actor, schedule_id: int | str, changes: dict[str, Any]) -> PeriodicTask:
    """Change the parts that are named, and leave the others; a timetable takes the place of the one before.

    When it last ran is kept, unless the schedule is switched on: then it counts from now. Enabling or disabling alone
    is `set_enabled`. Raises PermissionDenied (django_celery_beat.change_periodictask, and jobs.enqueue_job for its
    task, arguments and times and to switch it on), ScheduleNotFound, or ScheduleRefused, also when no part is named.
    """
    actor.require("django_celery_beat.change_periodictask")
    if not changes:
        raise ScheduleRefused({"": f"nothing to change; name at least one of: {', '.join(FIELDS)}"})
    if set(changes) == {"enabled"} and isinstance(changes["enabled"], bool):
        return set_enabled(actor, schedule_id, changes["enabled"])
    with transaction.atomic():
        # A tick in between would be undone.
        pk = find_schedule(schedule_id).pk
        list(PeriodicTask.objects.select_for_update().filter(pk=pk))
        return _store(actor, find_schedule(pk), changes)


def delete_schedule(actor: Actor, schedule_id: int | str) -> PeriodicTask:
    """Delete a schedule and return what it was; its jobs stay.

    Raises PermissionDenied (django_celery_beat.delete_periodictask) or ScheduleNotFound.
    """
    actor.require("django_celery_beat.delete_periodictask")
    with transaction.atomic():
        schedule = find_schedule(schedule_id)
        pk = schedule.pk
        actor.record("schedule.delete", pk, name=schedule.name)
        schedule.delete()
        schedule.pk = pk
    return schedule


def apply_changes(schedule: PeriodicTask, changes: dict[str, Any]) -> None:
    """Set the changes on a schedule without storing it. Raises ScheduleRefused with all that is wrong."""
    _load_policy(schedule)
    errors: dict[str, str] = {name: "unknown part" for name in changes if name not in FIELDS}
    new = {name: value for name, value in changes.items() if name in FIELDS}
    for step in (_take_plain, _take_timetable, _take_call, _take_span):
        try:
            step(schedule, new)
        except ScheduleRefused as exc:
            errors |= exc.errors
    if errors:
        raise ScheduleRefused(errors)
    if WHEN & set(new):
        if schedule.one_off:
            # Its single run is one to come, however often it ran before.
            schedule.total_run_count = 0
        check_runs(schedule)


def _store(actor: Actor, schedule: PeriodicTask, changes: dict[str, Any]) -> PeriodicTask:
    is_new = schedule.pk is None
    _load_policy(schedule)
    before = {} if is_new else _snapshot(schedule)
    was_enabled = schedule.enabled
    arguments = (schedule.args, schedule.kwargs)
    last_run_at = schedule.last_run_at
    apply_changes(schedule, changes)
    after = _snapshot(schedule)
    changed = {name: [before.get(name), after[name]] for name in after if before.get(name) != after[name]}
    if arguments != (schedule.args, schedule.kwargs):
        changed["arguments"] = ["edited", "edited"]
    if not changed:
        return schedule
    is_switched_on = schedule.enabled and not was_enabled
    if is_new or is_switched_on or SENDS & set(changed):
        require_enqueue(actor)
    if is_switched_on:
        last_run_at = None  # with its old last run it would be overdue, and run at once
    try:
        with transaction.atomic():
            for kind in KINDS:
                timetable = getattr(schedule, kind)
                if timetable is not None and timetable.pk is None:
                    timetable.save()
                    setattr(schedule, kind, timetable)
            schedule.save()
    except IntegrityError:
        raise ScheduleRefused({"name": "somebody else has just stored the same; try again"}) from None
    if schedule.last_run_at != last_run_at:  # the model's own save forgets it when the schedule is off
        PeriodicTask.objects.filter(pk=schedule.pk).update(last_run_at=last_run_at)
    if set(POLICY) & set(changed):
        SchedulePolicy.objects.filter(schedule=schedule).update(**{name: getattr(schedule, name) for name in POLICY})
    actor.record(f"schedule.{'create' if is_new else 'change'}", schedule.pk, name=schedule.name, changed=changed)
    return find_schedule(schedule.pk)


def _load_policy(schedule: PeriodicTask) -> None:
    """Set the policy's parts on the schedule, to be checked and compared like its own."""
    policy = (SchedulePolicy.objects.filter(schedule=schedule.pk).first() if schedule.pk else None) or SchedulePolicy()
    for name in POLICY:
        setattr(schedule, name, getattr(policy, name))


def _take_plain(schedule: PeriodicTask, new: dict[str, Any]) -> None:
    errors: dict[str, str] = {}
    for name in (*PLAIN, *POLICY):
        if name not in new and not (name == "name" and schedule.pk is None):
            continue
        value = new.get(name)
        try:
            setattr(schedule, name, _CHECKS[name](schedule, name, value))
        except ScheduleRefused as exc:
            errors |= exc.errors
    if errors:
        raise ScheduleRefused(errors)


def _name(schedule: PeriodicTask, field: str, value: Any) -> str:
    name = _text(schedule, field, value).strip()
    if not 0 < len(name) <= MAX_NAME:
        refuse(field, f"a schedule needs a name of 1 to {MAX_NAME} characters, not {len(name)}")
    if PeriodicTask.objects.filter(name=name).exclude(pk=schedule.pk).exists():
        refuse(field, f"there is a schedule {name!r} already; choose another name")
    return name


def _text(schedule: PeriodicTask, field: str, value: Any) -> str:
    text = value or ""
    if not isinstance(text, str) or not is_storable(text) or len(text) > MAX_DESCRIPTION:
        refuse(field, f"must be text of at most {MAX_DESCRIPTION} characters, without NUL")
    return text


def _queue(schedule: PeriodicTask, field: str, value: Any) -> str | None:
    if value and value not in QUEUES:
        refuse(field, f"unknown queue {value!r:.80}; choose from: {', '.join(QUEUES)}")
    return value or None


def _number(least: int, most: int, remedy: str) -> Any:
    def check(schedule: PeriodicTask, field: str, value: Any) -> int | None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most):
            refuse(field, f"{value!r:.40} is not a whole number from {least} to {most} ({remedy})")
        return value

    return check


def _flag(schedule: PeriodicTask, field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        refuse(field, f"must be true or false, not {value!r:.40}")
    return value


def _time(schedule: PeriodicTask, field: str, value: Any) -> Any:
    if value is not None:
        check_year(field, value)
    return value


def _catch_up(schedule: PeriodicTask, field: str, value: Any) -> str:
    if value not in CatchUp.values:
        refuse(field, f"unknown way {value!r:.40}; choose from: {', '.join(CatchUp.values)}")
    return str(value)


def _required(check: Any) -> Any:
    def checked(schedule: PeriodicTask, field: str, value: Any) -> Any:
        if value is None:
            refuse(field, "cannot be empty; leave it out to keep it")
        return check(schedule, field, value)

    return checked


_CHECKS: dict[str, Any] = {
    "name": _name,
    "task": _text,
    "queue": _queue,
    "priority": _number(0, 9, "9 is taken first"),
    "start_time": _time,
    "expires": _time,
    "expire_seconds": _number(1, MAX_EXPIRE_SECONDS, "how long its jobs may wait"),
    "one_off": _flag,
    "enabled": _flag,
    "description": _text,
    "catch_up": _catch_up,
    "catch_up_limit": _required(_number(1, MAX_CATCH_UP, "the most missed ticks that are run")),
    "grace_seconds": _number(1, MAX_EXPIRE_SECONDS, "a tick that is later is not run"),
}


def _take_timetable(schedule: PeriodicTask, new: dict[str, Any]) -> None:
    """Point the schedule at one timetable and no other; a single time runs once."""
    given = [kind for kind in KINDS if new.get(kind) is not None]
    if len(given) > 1:
        refuse(given[1], f"a schedule has one timetable, but {' and '.join(given)} came; leave all but one out")
    if not given:
        if schedule.pk is None or any(kind in new and getattr(schedule, kind) is not None for kind in KINDS):
            refuse("", f"a schedule needs a timetable; give one of: {', '.join(KINDS)}")
    else:
        kind = given[0]
        timetable = find_timetable(kind, new[kind])
        if kind == "clocked" and timetable.clocked_time <= timezone.now() and timetable != schedule.clocked:
            when = timetable.clocked_time.isoformat()
            refuse("clocked.at", f"{when} is in the past; choose a time to come, or run the schedule now")
        if schedule.clocked is not None and kind != "clocked" and "one_off" not in new:
            schedule.one_off = False
        for other in KINDS:
            setattr(schedule, other, timetable if other == kind else None)
    if schedule.clocked is not None:
        if new.get("one_off") is False:
            refuse("one_off", "a schedule at a single time runs once; leave one_off out")
        schedule.one_off = True


def _take_call(schedule: PeriodicTask, new: dict[str, Any]) -> None:
    """The arguments must fit the task; they are stored as text, as beat wants them."""
    if schedule.pk is not None and not {"task", "args", "kwargs"} & set(new):
        return
    values: dict[str, Any] = {}
    for name, kind, wanted in (("args", list, "list"), ("kwargs", dict, "object")):
        value = new[name] if name in new else _stored(schedule, name)
        if not isinstance(value, kind):
            refuse(name, f"must be a JSON {wanted}, not {type(value).__name__}")
        values[name] = value
        if _stored(schedule, name) != value:
            setattr(schedule, name, json.dumps(value))
    try:
        check_arguments(find_task(schedule.task), values["args"], values["kwargs"])
    except UnknownTask as exc:
        refuse("task", str(exc))
    except ArgumentsDoNotFit as exc:
        refuse("kwargs" if values["kwargs"] or not values["args"] else "args", str(exc))


def _stored(schedule: PeriodicTask, name: str) -> Any:
    text = getattr(schedule, name)
    try:
        return json.loads(text or ("[]" if name == "args" else "{}"))
    except (ValueError, RecursionError):
        return text


def _take_span(schedule: PeriodicTask, new: dict[str, Any]) -> None:
    """When it begins and ends, against each other and against now."""
    if schedule.expires and schedule.expire_seconds is not None and {"expires", "expire_seconds"} & set(new):
        refuse("expires", f"its jobs expire after {schedule.expire_seconds} s; both cannot be set, so clear one")
    if new.get("expires") and schedule.expires and schedule.expires <= timezone.now():
        refuse("expires", f"{schedule.expires.isoformat()} is in the past; choose a time to come, or disable it")
    if not {"expires", "start_time"} & set(new) or not (schedule.expires and schedule.start_time):
        return
    if schedule.expires <= schedule.start_time:
        refuse("expires", f"it ends before it starts ({schedule.start_time.isoformat()}); choose a later end")


def _snapshot(schedule: PeriodicTask) -> dict[str, Any]:
    """The audited parts as text, so that they fit JSON. Arguments are not copied."""
    values = {name: getattr(schedule, name) for name in (*PLAIN, *POLICY, *KINDS)}
    return {
        name: value if value is None or isinstance(value, (bool, int, str)) else str(value)
        for name, value in values.items()
    }
