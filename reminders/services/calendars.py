"""A person's tasks as a calendar, and what a calendar changes of them."""

import hashlib
import re
import time
import zoneinfo
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import F, Q, QuerySet

from reminders import moment, recurrence
from reminders.calendar.items import AlarmRule, CalendarProblem, CalendarTodo, PersonClock
from reminders.calendar.reading import read_todos
from reminders.calendar.writing import Stamps, write
from reminders.clocks import usable_zone
from reminders.models import ReminderRule, RepeatFrom, Todo
from reminders.services import planning, todos
from reminders.services.todos import TodoRefused

#: A calendar holds at most so many tasks: the open ones that are due first, then those done last.
MOST_TODOS = 2000
DONE_DAYS = 30
#: Of an import, what is not done by then is told of, and done by importing again.
MOST_SECONDS = 60.0
#: Raise it when the same tasks are written in another way, so that programs read them again.
FORMAT = 2
#: As `_other_uid` writes it.
_OTHER_UID = re.compile(r"(\d{1,18})-.+", re.ASCII | re.DOTALL)


@dataclass
class Imported:
    """created, updated, unchanged: numbers of tasks. errors: what could not be taken, in whole or in part."""

    created: list[int] = field(default_factory=list)
    updated: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    errors: list[CalendarProblem] = field(default_factory=list)


def clock_of(person: Any) -> PersonClock:
    preferences = getattr(person, "reminder_preferences", None) or planning.default_preferences(person)
    zone = preferences.time_zone if preferences.time_zone in zoneinfo.available_timezones() else "UTC"
    return PersonClock(zone, preferences.anchor_time)


# --- Out --------------------------------------------------------------------------------------------------------------


def todos_of(person: Any) -> "QuerySet[Todo]":
    """What a person made, is to do or watches; not what others of a project do."""
    made = Todo.objects.filter(creator=person.pk).values("pk")
    assigned = Todo.assignees.through.objects.filter(user_id=person.pk).values("todo_id")
    watched = Todo.watchers.through.objects.filter(user_id=person.pk).values("todo_id")
    # A union, as each part of it has an index; joined by OR they would scan all tasks.
    return Todo.objects.filter(pk__in=made.union(assigned, watched, all=True))


def calendar_todos(person: Any) -> "QuerySet[Todo]":
    """Open tasks, and those closed in the last 30 days; those that are due first come first."""
    since = moment.now() - timedelta(days=DONE_DAYS)
    found = todos_of(person).filter(Q(done_at=None) | Q(done_at__gt=since))
    order = (F("done_at").desc(nulls_first=True), F("due_at").asc(nulls_last=True), F("id"))
    return found.order_by(*order)


def calendar_of(person: Any) -> str:
    """A person's tasks as iCalendar. The same text for the same `state_of`."""
    clock = clock_of(person)
    rows = list(calendar_todos(person).defer("search")[:MOST_TODOS])
    note = "" if len(rows) < MOST_TODOS else f"No more than {MOST_TODOS:,} tasks are shown."
    rules = _rules_of([row.pk for row in rows], person)
    meant = _meant(person, [row.uid for row in rows])
    items = []
    for row in rows:
        item = as_calendar(row, rules[row.pk])
        if meant.get(row.uid, row.pk) != row.pk:
            item = replace(item, uid=_other_uid(row))
        items.append((item, Stamps(row.created_at, row.updated_at, row.schedule_version)))
    return write(items, clock, f"Tasks of {person.get_username()}", note)


def state_of(person: Any) -> str:
    """What the calendar follows from, as a digest: of the versions of its rows, and of nothing that is in them.

    Postgres gives a row another version and place with each change, whoever makes it and in whichever way.
    """
    chosen = calendar_todos(person).values("pk")[:MOST_TODOS]
    query, parameters = chosen.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH chosen (chosen_id) AS ({query})
            SELECT (SELECT string_agg(concat_ws('.', t.id, t.xmin, t.ctid), ',' ORDER BY t.id)
                      FROM chosen JOIN reminders_todo t ON t.id = chosen.chosen_id),
                   (SELECT string_agg(concat_ws('.', r.id, r.xmin, r.ctid), ',' ORDER BY r.id)
                      FROM chosen JOIN reminders_reminderrule r ON r.todo_id = chosen.chosen_id),
                   (SELECT concat(xmin, ctid) FROM reminders_preferences WHERE user_id = %s)
            """,  # noqa: S608 (the statement is Django's own, with its parameters)
            [*parameters, person.pk],
        )
        rows = cursor.fetchone()
    text = repr((FORMAT, rows, clock_of(person), person.get_username(), _tz_version()))
    return hashlib.sha256(text.encode()).hexdigest()


def _tz_version() -> str:
    import importlib.metadata

    return importlib.metadata.version("tzdata")


def as_calendar(todo: Todo, rules: Sequence[ReminderRule]) -> CalendarTodo:
    """A task as a calendar tells it. rules: those that remind the person whose calendar it is."""
    rrule = ""
    if todo.rrule and todo.due_date is not None and todo.is_open:
        first = todo.series_start or todo.due_date
        rrule = _remaining(todo.rrule, first, todo)
    return CalendarTodo(
        uid=todo.uid,
        title=todo.title,
        notes=todo.notes,
        priority=todo.priority,
        tags=tuple(todo.tags),
        time_zone=usable_zone(todo.time_zone),
        start_date=todo.start_date,
        start_time=todo.start_time,
        due_date=todo.due_date,
        due_time=todo.due_time,
        rrule=rrule,
        repeat_from=todo.repeat_from if rrule else RepeatFrom.DUE.value,
        done_at=todo.done_at,
        cancelled=todo.cancelled,
        alarms=tuple(sorted({_alarm_of(rule) for rule in rules}, key=repr)),
    )


def _remaining(rrule: str, first: Any, todo: Todo) -> str:
    assert todo.due_date is not None
    try:
        if todo.repeat_from == RepeatFrom.COMPLETION:
            first = todo.due_date
        return str(recurrence.remaining(rrule, first=first, due=todo.due_date, occurrence=todo.occurrence))
    except recurrence.RuleRefused:
        return ""


def _alarm_of(rule: ReminderRule) -> AlarmRule:
    if rule.at_date is not None and rule.at_time is not None:
        return AlarmRule(at=datetime.combine(rule.at_date, rule.at_time), zone=rule.time_zone)
    return AlarmRule(anchor=rule.anchor, offset=rule.offset)


def _rules_of(todo_ids: Sequence[int], person: Any) -> dict[int, list[ReminderRule]]:
    found: dict[int, list[ReminderRule]] = defaultdict(list)
    rules = ReminderRule.objects.filter(Q(person=None) | Q(person=person.pk), todo__in=todo_ids, set_aside_at=None)
    for rule in rules.order_by("id"):
        found[int(rule.todo_id or 0)].append(rule)
    return found


# --- In ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Alarms:
    """What a file says otherwise than the rules that remind a person. gone: rules that remind nobody else."""

    new: Sequence[AlarmRule] = ()
    gone: Sequence[ReminderRule] = ()


def import_calendar(person: Any, data: bytes | str) -> Imported:
    """Take a calendar's tasks in for a person; what cannot be taken is told of, and stops no other.

    A task whose UID is that of one of the person's is changed where it says otherwise than our calendar would; the
    rest are made. Its alarms remind that person alone, and take away no rule that reminds anybody else.
    Raises CalendarRefused.
    """
    started = time.monotonic()
    clock, now = clock_of(person), moment.now()
    items, problems = read_todos(data, clock, now)
    result = Imported(errors=problems)
    known = _known(person, [item.uid for item in items])
    rules = _rules_of([row.pk for row in known.values()], person)
    for item in items:
        told = CalendarProblem(0, "", "", item.uid, item.title)
        if time.monotonic() - started > MOST_SECONDS:
            what = "there was no time left for it"
            result.errors.append(replace(told, what=what, remedy="import the file again: what is there is passed over"))
            continue
        try:
            with transaction.atomic():
                _take(person, item, known.get(item.uid), rules, clock, result)
        except TodoRefused as exc:
            result.errors.append(replace(told, what=str(exc), remedy="change it in the file, and import that again"))
        except (ValidationError, DataError, IntegrityError, ValueError, OverflowError, Todo.DoesNotExist) as exc:
            what = f"it cannot be stored: {type(exc).__name__}"
            result.errors.append(replace(told, what=what, remedy="change its values, and import the file again"))
    return result


def _known(person: Any, uids: Sequence[str]) -> dict[str, Todo]:
    """The person's tasks that these UIDs stand for in their calendar."""
    wanted, meant = set(uids), _meant(person, uids)
    numbers = [int(match[1]) for match in map(_OTHER_UID.fullmatch, uids) if match]
    found: dict[str, Todo] = {}
    for row in todos_of(person).filter(pk__in=[*meant.values(), *numbers]).defer("search"):
        if _other_uid(row) in wanted:
            found[_other_uid(row)] = row
        elif meant.get(row.uid) == row.pk:
            found[row.uid] = row
    return found


def _meant(person: Any, uids: Sequence[str]) -> dict[str, int]:
    """Of each UID, the number of the person's task; of several of one UID, of the one that the person made."""
    rows = todos_of(person).filter(uid__in=uids).order_by("id")
    found: dict[str, int] = {}
    for uid, number, creator in rows.values_list("uid", "pk", "creator_id"):
        if uid not in found or creator == person.pk:
            found[uid] = number
    return found


def _other_uid(row: Todo) -> str:
    """Under which a task is in the calendar of whoever has another one of its UID, such as one of somebody else's."""
    return f"{row.pk}-{row.uid}"[:255]


def _take(
    person: Any,
    item: CalendarTodo,
    row: Todo | None,
    rules: dict[int, list[ReminderRule]],
    clock: PersonClock,
    result: Imported,
) -> None:
    if row is None:
        result.created.append(_create(person, item).pk)
        return
    item = replace(item, uid=row.uid)
    # Compared with what we would have written, so that what no calendar can tell is not lost by coming back.
    before = _written(row, rules[row.pk], clock)
    same_alarms = before.alarms == item.alarms
    alarms = _Alarms() if same_alarms else _alarms(person, row, rules[row.pk], item, clock)
    # When and how it was closed is told once, and stays as it is here.
    same_state = (before.done_at is None) == (item.done_at is None)
    same = replace(before, done_at=None, alarms=()) == replace(_told_alike(row, before, item), done_at=None, alarms=())
    if same_state and same and alarms == _Alarms():
        result.unchanged.append(row.pk)
        return
    _update(person, row, before, item, alarms, clock)
    result.updated.append(row.pk)


def _told_alike(row: Todo, before: CalendarTodo, item: CalendarTodo) -> CalendarTodo:
    """Where a file has the very rule that the series has: we write it otherwise once a date was moved alone, or some of
    its dates are over. And where both are closed, as done or as given up.
    """
    if before.done_at is not None and item.done_at is not None:
        return replace(item, cancelled=before.cancelled)
    return replace(item, rrule=before.rrule) if before.rrule and item.rrule == row.rrule else item


def _written(row: Todo, rules: Sequence[ReminderRule], clock: PersonClock) -> CalendarTodo:
    own = as_calendar(row, rules)
    stamps = Stamps(row.created_at, row.updated_at, row.schedule_version)
    text = write([(own, stamps)], clock, "", zones=False)
    read, _ = read_todos(text, clock, row.done_at or datetime.now(UTC))
    return read[0] if read else own


def _columns(item: CalendarTodo) -> dict[str, Any]:
    left_out = {"uid", "alarms", "done_at", "cancelled"}
    values = {one.name: getattr(item, one.name) for one in fields(item) if one.name not in left_out}
    return {**values, "tags": list(item.tags)}


def _create(person: Any, item: CalendarTodo) -> Todo:
    values = {**_columns(item), "uid": item.uid}
    if item.done_at is not None:
        values |= {"done_at": item.done_at, "done_by": person, "cancelled": item.cancelled}
    return todos.create(values, creator=person, rules=[_rule(alarm, person) for alarm in item.alarms])


def _update(
    person: Any, row: Todo, before: CalendarTodo, item: CalendarTodo, alarms: _Alarms, clock: PersonClock
) -> None:
    """Change what differs; a task is closed and reopened as by hand."""
    # First of all, as by all who change a task: to take its rules away before would be to wait in a ring with others.
    row = todos.locked(row.pk)
    # What is closed is written without its rule, so a file says nothing of it.
    keeps_rule = item.done_at is not None or (before.done_at is not None and not item.rrule)
    if before.done_at is not None and item.done_at is None:
        row = todos.reopen(row.pk)
        before = _written(row, [], clock)
    old, new = _columns(before), _columns(item)
    changed = {name: value for name, value in new.items() if value != old[name]}
    if keeps_rule:
        changed = {name: value for name, value in changed.items() if name not in {"rrule", "repeat_from"}}
    for rule in alarms.gone:
        rule.delete()
    for alarm in alarms.new:
        rule = _rule(alarm, person)
        rule.todo = row
        rule.save()
    todos.change(row.pk, changed)
    if before.done_at is None and item.done_at is not None:
        todos.complete(row.pk, person, cancelled=item.cancelled)


def _alarms(person: Any, row: Todo, rules: Sequence[ReminderRule], item: CalendarTodo, clock: PersonClock) -> _Alarms:
    told = [(rule, _written(row, [rule], clock).alarms) for rule in rules]
    known = {alarm for _, alarms in told for alarm in alarms}
    left_out = [rule for rule, alarms in told if alarms and alarms[0] not in item.alarms]
    alone = bool(left_out) and _is_alone(person, row)
    # Many programs leave alarms out: what reminds others is not theirs to take away.
    gone = [rule for rule in left_out if rule.person_id is not None or alone]
    return _Alarms(tuple(alarm for alarm in item.alarms if alarm not in known), tuple(gone))


def _is_alone(person: Any, row: Todo) -> bool:
    """Whether a task is a person's own, so that its rules remind nobody else."""
    others = (people.exclude(pk=person.pk).exists() for people in (row.assignees, row.watchers))
    return row.creator_id == person.pk and not any(others)


def _rule(alarm: AlarmRule, person: Any) -> ReminderRule:
    """A person's calendar reminds that person alone."""
    if alarm.at is None:
        return ReminderRule(person=person, anchor=alarm.anchor, offset=alarm.offset)
    return ReminderRule(person=person, at_date=alarm.at.date(), at_time=alarm.at.time(), time_zone=alarm.zone)
