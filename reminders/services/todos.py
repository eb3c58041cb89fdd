"""What happens to a task: made, changed, done, reopened, put off, deleted. Each keeps its reminders in step."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from reminders import clocks, moment, recurrence
from reminders.models import (
    WAITING,
    DeliveredReminder,
    DeliveryState,
    Layout,
    PlannedReminder,
    Priority,
    Reminder,
    ReminderRule,
    ReminderState,
    RepeatFrom,
    Todo,
)
from reminders.services import attachments, holding, planning
from reminders.services.scanning import EXPIRES_AFTER

#: Why a reminder was dropped that waits again when its task is reopened, and why it does not.
CLOSED = "the task was closed"
REOPENED_LATE = f"{CLOSED}, and reopened more than a day after it was to be sent"
#: A change of one of these is another schedule: what fired may fire again.
SCHEDULE_FIELDS = ("start_date", "start_time", "due_date", "due_time", "time_zone")
LONGEST_NOTES = 20_000
#: Beyond these, instants of some zones are none that Python or Postgres knows.
FIRST_YEAR, LAST_YEAR = 1900, 2999
UID_DOMAIN = "switchyard"


class TodoRefused(ValueError):
    """It cannot be done to this task as it is; the message says why, and what to do."""


class TodoValuesRefused(TodoRefused):
    """What was given cannot stand together. errors: why, under the name of what is to be changed."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.errors = {name: why}


@dataclass(frozen=True)
class Completed:
    """todo: as it is now. successor: the next one of its series, if it repeats and another one follows.

    skipped: how many dates of the series had passed when it was done, of which there is no task.
    """

    todo: Todo
    successor: Todo | None
    skipped: int = 0


def create(
    fields: Mapping[str, Any],
    *,
    creator: Any,
    assignees: Iterable[int] = (),
    watchers: Iterable[int] = (),
    rules: Iterable[ReminderRule] = (),
) -> Todo:
    """A new task, with its reminders planned. fields: checked values of columns. rules: unsaved, without a task.

    Without a zone it has its creator's. Raises TodoValuesRefused.
    """
    todo = Todo(**fields, creator=creator)
    todo.uid = todo.uid or f"{uuid.uuid4()}@{UID_DOMAIN}"
    if "time_zone" not in fields and creator is not None:
        todo.time_zone = zone_of(creator)
    _derive(todo)
    if todo.rrule:
        _check_rule(todo)
        todo.series, todo.series_start = uuid.uuid4(), todo.due_date
    with transaction.atomic():
        todo.save()
        todo.assignees.set(assignees)
        todo.watchers.set(watchers)
        for rule in rules:
            rule.todo = todo
            rule.save()
        planning.replan([todo.pk])
    return todo


def change(
    todo_id: int,
    fields: Mapping[str, Any],
    *,
    assignees: Iterable[int] | None = None,
    watchers: Iterable[int] | None = None,
) -> Todo:
    """Change checked values of columns, and people where they are given. Raises Todo.DoesNotExist, TodoRefused."""
    with transaction.atomic():
        todo = locked(todo_id)
        before = {name: getattr(todo, name) for name in SCHEDULE_FIELDS}
        rule_before = (todo.rrule, todo.repeat_from)
        was_urgent = todo.priority == Priority.URGENT
        for name, value in fields.items():
            setattr(todo, name, value)
        _derive(todo)
        if any(getattr(todo, name) != before[name] for name in SCHEDULE_FIELDS):
            todo.schedule_version += 1
            planning.supersede(todo, "the task's date was changed")
        if todo.rrule and (todo.rrule, todo.repeat_from) != rule_before:
            _check_rule(todo)
        elif todo.rrule and todo.due_date != before["due_date"]:
            _check_end(todo)
        if todo.rrule != rule_before[0]:
            # Another rule is another series: its dates are counted from here.
            todo.series, todo.occurrence = (uuid.uuid4() if todo.rrule else None), 0
            todo.series_start = todo.due_date if todo.rrule else None
        elif todo.rrule and rule_before[1] == RepeatFrom.COMPLETION != todo.repeat_from:
            _begin_series_here(todo)
        todo.save()
        if todo.priority == Priority.URGENT and not was_urgent:
            holding.look_anew_at(todo.pk)
        if assignees is not None:
            todo.assignees.set(assignees)
        if watchers is not None:
            todo.watchers.set(watchers)
        planning.replan([todo.pk])
    return todo


def complete(todo_id: int, by: Any, *, cancelled: bool = False) -> Completed:
    """Close a task: nobody is reminded of it any more. One that repeats makes its successor, unless it is given up.

    By due date that is the first one of the series that is due from now on; what was missed before it counts as done.
    A task that is closed already stays as it is. Raises Todo.DoesNotExist.
    """
    with transaction.atomic():
        todo = locked(todo_id)
        if not todo.is_open:
            return Completed(todo, None)
        todo.done_at, todo.done_by, todo.cancelled = moment.now(), by, cancelled
        todo.save(update_fields=["done_at", "done_by", "cancelled", "updated_at"])
        _silence(todo, CLOSED)
        successor, skipped = (None, 0) if cancelled or not todo.rrule else _succeed(todo)
    return Completed(todo, successor, skipped)


def reopen(todo_id: int) -> Todo:
    """Open a closed task again: its reminders that lie ahead are planned, and those that closing it dropped wait again.

    But not those that were to be sent more than a day ago. Raises Todo.DoesNotExist.
    """
    with transaction.atomic():
        todo = locked(todo_id)
        if todo.is_open:
            return todo
        todo.done_at, todo.done_by, todo.cancelled = None, None, False
        todo.save(update_fields=["done_at", "done_by", "cancelled", "updated_at"])
        planning.replan([todo.pk])
        _wait_again(todo)
    return todo


def snooze(todo_id: int, person_id: int, until: datetime) -> Todo:
    """Remind one person again at an instant, and of nothing of this task before.

    Raises Todo.DoesNotExist, TodoRefused for a closed task and for a time that has passed.
    """
    now = moment.now()
    if until <= now:
        raise TodoRefused(f"{until.isoformat()} has passed; snooze until a later time")
    with transaction.atomic():
        todo = locked(todo_id)
        if not todo.is_open:
            raise TodoRefused(f"task {todo.pk} is closed; reopen it to be reminded of it")
        planned = PlannedReminder.objects.filter(todo=todo, recipient=person_id)
        planned.filter(Q(fire_at__lte=until) | Q(kind__startswith="snooze:")).delete()
        theirs = Reminder.objects.filter(todo=todo, recipient=person_id)
        theirs.filter(state__in=WAITING).update(state=ReminderState.DROPPED, held_until=None, reason="it was snoozed")
        number = _next_snooze(theirs.filter(kind__startswith="snooze:").values_list("kind", flat=True))
        PlannedReminder.objects.create(
            todo=todo,
            recipient_id=person_id,
            kind=f"snooze:{number}",
            fire_at=until,
            schedule_version=todo.schedule_version,
        )
    return todo


def _next_snooze(kinds: Iterable[str]) -> int:
    """Above all that fired: of those some may have been cleaned up."""
    return max((int(kind.partition(":")[2]) for kind in kinds), default=-1) + 1


def delete(todo_id: int) -> None:
    """Delete a task with all that belongs to it. Raises Todo.DoesNotExist."""
    with transaction.atomic():
        todo = locked(todo_id)
        # A scan that is at them is waited for here; Django collects what it deletes before it waits.
        PlannedReminder.objects.filter(todo=todo).delete()
        list(Reminder.objects.select_for_update().filter(todo=todo).order_by("pk").values_list("pk"))
        attachments.lock_contents(todo)
        todo.delete()


def locked(todo_id: int) -> Todo:
    """The task, so that nobody else changes it meanwhile.

    Whoever holds it takes what is planned off before it touches what fired: once the former is gone, no scan can add to
    the latter. The lock is one that a scan's foreign keys pass: it would wait here with planned rows in its hands.
    """
    return Todo.objects.select_for_update(of=("self",), no_key=True).defer("search").get(pk=todo_id)


def zone_of(user: Any) -> str:
    kept = getattr(user, "reminder_preferences", None) or planning.default_preferences(user)
    return str(kept.time_zone)


def _derive(todo: Todo) -> None:
    """The instants that follow from the local dates: without a time, a task starts as its day begins, and is due as its
    day ends.
    """
    for name, without in (("start", time()), ("due", None)):
        day, clock = getattr(todo, f"{name}_date"), getattr(todo, f"{name}_time")
        if day is not None and not FIRST_YEAR <= day.year <= LAST_YEAR:
            why = f"{day} is not taken; it takes years from {FIRST_YEAR} to {LAST_YEAR}"
            raise TodoValuesRefused(f"{name}_date", why)
        if day is None:
            setattr(todo, f"{name}_time", None)
        setattr(todo, f"{name}_at", None if day is None else _instant(day, clock or without, todo.time_zone))
    if todo.rrule and todo.due_date is None:
        raise TodoValuesRefused("due_date", "a task that repeats needs one; give it, or take its rule away")


def _instant(day: date, clock: time | None, zone: str) -> datetime:
    """clock: None for the end of the day."""
    zone = clocks.usable_zone(zone)
    return clocks.end_of_day(day, zone) if clock is None else clocks.instant(datetime.combine(day, clock), zone)


def _check_rule(todo: Todo) -> None:
    """Bring the rule of repetition into its normal form. Raises TodoValuesRefused."""
    assert todo.due_date is not None
    from_completion = todo.repeat_from == RepeatFrom.COMPLETION
    try:
        todo.rrule = recurrence.check(
            todo.rrule, todo.due_date, at=todo.due_time, zone=todo.time_zone, from_completion=from_completion
        )
    except recurrence.RuleRefused as exc:
        raise TodoValuesRefused("rrule", str(exc)) from None


def _begin_series_here(todo: Todo) -> None:
    """It was counted from its completion, and has no dates of its own to go on by; of COUNT stays what is left."""
    due, occurrence = todo.due_date, todo.occurrence
    assert due is not None
    todo.rrule = str(recurrence.remaining(todo.rrule, first=due, due=due, occurrence=occurrence))
    todo.series, todo.occurrence, todo.series_start = uuid.uuid4(), 0, due


def _check_end(todo: Todo) -> None:
    """Whether a date that is moved alone belongs to its series still. Raises TodoValuesRefused."""
    assert todo.due_date is not None
    end = recurrence.parse(todo.rrule).until
    if end is not None and todo.due_date > end:
        why = f"{todo.due_date} is after UNTIL={end:%Y%m%d} of its rule; write a later UNTIL, or take the rule away"
        raise TodoValuesRefused("due_date", why)


def _silence(todo: Todo, why: str) -> None:
    planned = PlannedReminder.objects.filter(todo=todo)
    planned.exclude(kind__startswith="snooze:").delete()
    # What was put off is kept for when the task is reopened, as its time is nowhere else; the scan drops what comes
    # before. A scan that is at it is waited for, as by the delete.
    list(planned.select_for_update().order_by("pk").values_list("pk"))
    Reminder.objects.filter(todo=todo, state__in=WAITING).update(
        state=ReminderState.DROPPED, held_until=None, reason=why
    )


def _wait_again(todo: Todo) -> None:
    """What was dropped as its task was closed. What another delivery has in hand, or has told alone, is left to it."""
    dropped = Reminder.objects.filter(todo=todo, state=ReminderState.DROPPED, reason=CLOSED, superseded_at=None)
    dropped = dropped.filter(schedule_version=todo.schedule_version)
    dropped.filter(fire_at__lt=moment.now() - EXPIRES_AFTER).update(reason=REOPENED_LATE)
    in_hand = Q(delivery__state__in=(DeliveryState.PENDING, DeliveryState.UNCERTAIN))
    told = Q(delivery__state=DeliveryState.SENT, delivery__layout=Layout.SINGLE)
    delivered = DeliveredReminder.objects.filter(in_hand | told, reminder=OuterRef("pk"))
    dropped.filter(Exists(delivered)).update(state=ReminderState.OUTBOX, reason="")
    dropped.update(state=ReminderState.DUE, reason="")


def _next_due(todo: Todo, due: date, done_at: datetime) -> tuple[date | None, int]:
    """Of the next task of a series, and how many were missed before it."""
    first, occurrence = todo.series_start or due, todo.occurrence
    if todo.repeat_from == RepeatFrom.COMPLETION:
        done_on = clocks.local(done_at, clocks.usable_zone(todo.time_zone)).date()
        found = recurrence.next_date(todo.rrule, first=first, due=due, occurrence=occurrence, done_on=done_on)
        return found, 0

    def has_passed(day: date) -> bool:
        return _instant(day, todo.due_time, todo.time_zone) <= done_at

    return recurrence.next_to_come(todo.rrule, first=first, due=due, occurrence=occurrence, has_passed=has_passed)


def _succeed(todo: Todo) -> tuple[Todo | None, int]:
    """The next task of the series: its dates moved on, with its people and rules. None after the last.

    And how many were missed before it.
    """
    assert todo.due_date is not None
    assert todo.done_at is not None
    # A task that was reopened and done again has its successor already.
    if Todo.objects.filter(series=todo.series, occurrence__gt=todo.occurrence, series__isnull=False).exists():
        return None, 0
    due, skipped = _next_due(todo, todo.due_date, todo.done_at)
    if due is None:
        return None, skipped
    names = ("title", "notes", "priority", "tags", "time_zone", "due_time", "start_time", "rrule", "repeat_from")
    fields = {name: getattr(todo, name) for name in (*names, "project", "overdue_reminders", "creator")}
    moved = due - todo.due_date
    start = None if todo.start_date is None else todo.start_date + moved
    series = {"series": todo.series, "series_start": todo.series_start, "occurrence": todo.occurrence + 1 + skipped}
    uid = f"{uuid.uuid4()}@{UID_DOMAIN}"
    successor = Todo(uid=uid, due_date=due, start_date=start, **series, **fields)
    _derive(successor)
    successor.save()
    successor.assignees.set(todo.assignees.all())
    successor.watchers.set(todo.watchers.all())
    for rule in ReminderRule.objects.filter(todo=todo, at_date=None):
        rule.pk, rule.todo = None, successor
        rule.failures, rule.set_aside_at, rule.set_aside_because = 0, None, ""
        rule._state.adding = True
        rule.save()
    planning.replan([successor.pk])
    return successor, skipped
