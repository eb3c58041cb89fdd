"""Planning: what of a task's rules is still to fire is kept in rows that the scan finds by their time."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q, QuerySet

from reminders import moment
from reminders.clocks import usable_zone
from reminders.models import WAITING, PlannedReminder, Preferences, Reminder, ReminderRule, ReminderState, Todo
from reminders.schedule import Person, Schedule, schedule
from reminders.services import parts

BATCH = 500
MOST_FAILURES = 3
NEVER = datetime.min.replace(tzinfo=UTC)


def default_preferences(user: Any) -> Preferences:
    """What counts for somebody who has set nothing. Not saved."""
    from django.conf import settings

    return Preferences(user=user, time_zone=settings.TIME_ZONE)


def people_of(ids: Iterable[int]) -> dict[int, Person]:
    """How the clocks of these accounts run, and their default rules.

    Those of closed accounts, too: whoever is opened again, by whatever page or statement, is reminded without anybody
    having noticed. What falls due while an account is closed is dropped by the scan, which tells why.
    """
    wanted = set(ids)
    defaults: dict[int, list[ReminderRule]] = defaultdict(list)
    for rule in ReminderRule.objects.filter(person__in=wanted, todo=None, set_aside_at=None).order_by("id"):
        defaults[int(rule.person_id or 0)].append(rule)
    users = get_user_model()._default_manager.filter(pk__in=wanted)
    found = {}
    for user in users.select_related("reminder_preferences"):
        kept = getattr(user, "reminder_preferences", None) or default_preferences(user)
        found[user.pk] = Person(user.pk, usable_zone(kept.time_zone), kept.anchor_time, tuple(defaults[user.pk]))
    return found


def schedules_of(todos: Sequence[Todo]) -> dict[int, Schedule]:
    """What the rules of some tasks come to. In six statements, however many there are.

    A rule for one person counts while they have a part in the task.
    """
    ids = [todo.pk for todo in todos]
    assignees, watchers = _links(Todo.assignees.through, ids), _links(Todo.watchers.through, ids)
    rules: dict[int, list[ReminderRule]] = defaultdict(list)
    counting = Q(person=None) | parts.concerns("person_id")
    for rule in ReminderRule.objects.filter(counting, todo__in=ids, set_aside_at=None).order_by("id"):
        rules[int(rule.todo_id or 0)].append(rule)
    everyone = {one for links in (assignees, watchers) for of_todo in links.values() for one in of_todo}
    everyone |= {todo.creator_id for todo in todos if todo.creator_id is not None}
    everyone |= {rule.person_id for of_todo in rules.values() for rule in of_todo if rule.person_id}
    people = people_of(everyone)
    return {todo.pk: schedule(todo, rules[todo.pk], people, assignees[todo.pk], watchers[todo.pk]) for todo in todos}


def _links(through: Any, todo_ids: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    links = through.objects.filter(todo_id__in=todo_ids).order_by("id")
    for todo_id, user_id in links.values_list("todo_id", "user_id"):
        found[todo_id].append(user_id)
    return found


def replan(todo_ids: Iterable[int], *, renewed: int | None = None) -> int:
    """Rewrite what is planned for tasks, after a change of rules, people or preferences. Returns the rows written.

    Whatever was due, and has not been found by a scan yet, stays due; nothing else of the past is planned.
    renewed: a rule that was changed, and fires anew.
    """
    written = 0
    ids = sorted(set(todo_ids))
    for start in range(0, len(ids), BATCH):
        with transaction.atomic():
            locked = Todo.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=ids[start : start + BATCH])
            todos = list(locked.defer("search").order_by("pk"))
            if renewed is not None:
                _forget(renewed, todos)
            written += _rewrite(todos, moment.now())
    return written


def _forget(rule_id: int, todos: Sequence[Todo]) -> None:
    """What fired by a rule for these tasks stands for another time than the rule's now."""
    # First of all, as in `todos.locked`.
    PlannedReminder.objects.filter(todo__in=todos, rule=rule_id).delete()
    _set_aside(Reminder.objects.filter(todo__in=todos, rule=rule_id, superseded_at=None), "its rule was changed")


def _set_aside(rows: QuerySet[Reminder], why: str) -> None:
    """What fired may fire again, and what fired and was not sent is not sent."""
    rows.filter(state__in=WAITING).update(state=ReminderState.DROPPED, held_until=None, reason=why)
    rows.update(superseded_at=moment.now())


def _rewrite(todos: list[Todo], now: datetime) -> int:
    open_ones = [todo for todo in todos if todo.is_open]
    ids = [todo.pk for todo in todos]
    snoozes = PlannedReminder.objects.filter(todo__in=ids, kind__startswith="snooze:")
    planned = PlannedReminder.objects.filter(todo__in=ids).exclude(kind__startswith="snooze:")
    before = {(row.todo_id, row.kind, row.recipient_id): row.fire_at for row in planned}
    planned.delete()
    _leave_out(ids, snoozes)
    # What fired for this date already does not fire again.
    fired = set(
        Reminder.objects.filter(todo__in=ids, superseded_at=None).values_list("todo_id", "kind", "recipient_id")
    )
    # Whoever put a task off is reminded of nothing of it before.
    put_off = {(row.todo_id, row.recipient_id): row.fire_at for row in snoozes}
    schedules = schedules_of(open_ones)
    note_failures(schedules.values(), now)
    rows = [
        PlannedReminder(
            todo=todo,
            recipient_id=one.recipient,
            kind=one.kind,
            rule_id=one.rule,
            fire_at=one.fire_at,
            schedule_version=todo.schedule_version,
        )
        for todo in open_ones
        for one in schedules[todo.pk].moments
        if (key := (todo.pk, one.kind, one.recipient)) not in fired
        and (one.fire_at > now or before.get(key) == one.fire_at)
        and one.fire_at > put_off.get((todo.pk, one.recipient), NEVER)
    ]
    PlannedReminder.objects.bulk_create(rows)
    return len(rows)


def _leave_out(todo_ids: Sequence[int], snoozes: QuerySet[PlannedReminder]) -> None:
    """Whoever has no part in a task any more is told nothing of it, whatever they were to be told."""
    parts.without(snoozes, "recipient_id").delete()
    waiting = Reminder.objects.filter(todo__in=todo_ids, state__in=WAITING)
    parts.without(waiting, "recipient_id").update(state=ReminderState.DROPPED, held_until=None, reason=parts.NO_PART)


def supersede(todo: Todo, why: str) -> None:
    """The task has another date: what fired may fire again, and what fired and was not sent is not sent."""
    # First of all, as in `todos.locked`: what a scan fired after the update below would keep the new date from firing.
    PlannedReminder.objects.filter(todo=todo).delete()
    _set_aside(Reminder.objects.filter(todo=todo, superseded_at=None), why)


def note_failures(schedules: Iterable[Schedule], now: datetime) -> None:
    """Count the rules that could not be worked out; at the third time they are set aside, with the reason."""
    for rule_id, error in {rule: why for found in schedules for rule, why in found.failed.items()}.items():
        rule = ReminderRule.objects.filter(pk=rule_id, set_aside_at=None)
        rule.update(failures=F("failures") + 1)
        rule.filter(failures__gte=MOST_FAILURES).update(set_aside_at=now, set_aside_because=error)


def todos_of(user_id: int) -> list[int]:
    """Open tasks of which somebody may be reminded, or was to be: for planning again when what decides that changes."""
    through = (Todo.assignees.through, Todo.watchers.through)
    assigned, watched = (links.objects.filter(user_id=user_id).values("todo_id") for links in through)
    rules = ReminderRule.objects.filter(person=user_id, todo__isnull=False).values("todo_id")
    planned = PlannedReminder.objects.filter(recipient=user_id).values("todo_id")
    waiting = Reminder.objects.filter(recipient=user_id, state__in=WAITING).values("todo_id")
    concerned = (
        Todo.objects.filter(creator=user_id).values("pk").union(assigned, watched, rules, planned, waiting, all=True)
    )
    return list(Todo.objects.filter(pk__in=concerned, done_at=None).order_by("pk").values_list("pk", flat=True))
