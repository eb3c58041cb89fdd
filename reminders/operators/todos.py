"""Tasks, for people and operators: found, made, changed, done, put off, deleted. Each deed is checked and recorded."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.postgres.search import SearchQuery
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet

from jobs.edit_forms import ListEdit
from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere, find
from jobs.operators.search import is_storable
from jobs.operators.settings import SettingsRefused, apply, shown
from reminders import moment
from reminders.models import Audience, Todo
from reminders.operators import access, rules, todo_values
from reminders.operators.times import read_until
from reminders.recurrence import RuleRefused
from reminders.schedule import recipients
from reminders.services import parts
from reminders.services import todos as services
from reminders.services.todos import Completed, TodoRefused, TodoValuesRefused

STATES = ("open", "done", "cancelled")
#: So many are changed at once, at most.
MOST_AT_ONCE = 1_000
MOST_FOUND = 2_000
_LONGEST_KEPT = 200


@dataclass(frozen=True)
class Snoozed:
    """until: the instant. people: names of the accounts for which it was put off."""

    todo: Todo
    until: datetime
    people: list[str]


@dataclass
class Each:
    """done: the tasks' numbers. skipped: of each other one, why it was not."""

    done: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def todos(
    actor: Actor,
    *,
    state: str = "",
    overdue: bool | None = None,
    due_after: datetime | None = None,
    due_before: datetime | None = None,
    project: str = "",
    creator: str = "",
    assignee: str = "",
    watcher: str = "",
    tag: str = "",
    priority: str = "",
    search: str = "",
    mine: bool | None = None,
) -> "QuerySet[Todo]":
    """What the actor may see, in no order, with what a list shows of each.

    state: open, done or cancelled. mine: assigned to the actor, or made by them and assigned to nobody. search: words
    of title and notes, as search engines take them. What cannot be stored is not found.
    """
    found = access.visible_todos(actor).select_related("project", "creator", "done_by")
    found = found.prefetch_related("assignees", "watchers")
    if not is_storable(project + creator + assignee + watcher + tag + search):
        return found.none()
    conditions = in_state(state) & _due(overdue, due_after, due_before)
    if project:
        conditions &= Q(project__name=project)
    for name, value in (("creator", creator), ("assignees", assignee), ("watchers", watcher)):
        if value:
            conditions &= Q(**{f"{name}__username": value})
    if tag:
        conditions &= Q(tags__contains=[tag])
    if priority:
        conditions &= Q(priority=todo_values.priority_named(priority))
    if mine is not None:
        theirs = _responsible(actor)
        conditions &= theirs if mine else ~theirs
    return with_words(found.filter(conditions), search)


def in_state(state: str) -> Q:
    """state: open, done or cancelled; empty for any."""
    if not state:
        return Q()
    known = {"open": Q(done_at=None), "cancelled": Q(done_at__isnull=False, cancelled=True)}
    return known.get(state, Q(done_at__isnull=False, cancelled=False))


def with_words(found: "QuerySet[Todo]", text: str) -> "QuerySet[Todo]":
    """Those with the words in title or notes, as search engines take them; of very many, the newest 2,000.

    They are looked up first: beside an order and a limit, Postgres would rather walk through all tasks than ask the
    index of words.
    """
    if not text.strip():
        return found
    if not is_storable(text):
        return found.none()
    wanted = SearchQuery(text[:1000], config="simple", search_type="websearch")
    matching = found.filter(search=wanted).select_related(None).prefetch_related(None).order_by("-pk")
    return found.filter(pk__in=list(matching.values_list("pk", flat=True)[:MOST_FOUND]))


def _due(overdue: bool | None, after: datetime | None, before: datetime | None) -> Q:
    conditions = Q()
    if overdue is not None:
        late = Q(done_at=None, due_at__lte=moment.now())
        conditions &= late if overdue else ~late | Q(due_at=None)
    if after is not None:
        conditions &= Q(due_at__gte=after)
    return conditions if before is None else conditions & Q(due_at__lt=before)


def _responsible(actor: Actor) -> Q:
    if not access.is_person(actor):
        return Q(pk__in=[])
    through = Todo.assignees.through.objects
    assigned = through.filter(user_id=actor.user.pk).values("todo_id")
    alone = Todo.objects.filter(creator=actor.user.pk, assignees=None).values("pk")
    return Q(pk__in=assigned.union(alone, all=True))


def find_todo(actor: Actor, todo_id: int) -> Todo:
    """With its people and project. Raises NotHere."""
    access.require_todo(actor, todo_id, "view")
    return find(todos(actor), todo_id, "task")


# --- One --------------------------------------------------------------------------------------------------------------


def create_todo(actor: Actor, given: Mapping[str, Any], uid: str = "") -> Todo:
    """A new task. given: columns, project by name or number, assignees and watchers by account name, and rules.

    creator: another account, of operators with reminders.change_todo; else the actor. uid: of the task, made up unless
    it is given. Raises PermissionDenied, SettingsRefused; IntegrityError if its creator has one of that uid.
    """
    plain = dict(given)
    creator = _creator(actor, plain.pop("creator", None))
    values = todo_values.read(actor, plain)
    with transaction.atomic(), _named():
        todo = services.create(
            values.fields | ({"uid": uid} if uid else {}),
            creator=creator,
            assignees=values.people.get("assignees", ()),
            watchers=values.people.get("watchers", ()),
        )
        actor.record("todo.create", todo.pk, title=todo.title)
        if values.rules:
            rules.add_to_new(actor, todo, values.rules)
    return find_todo(actor, todo.pk) if creator == actor.user or access.sees_all_todos(actor) else todo


def _creator(actor: Actor, given: Any) -> Any:
    if given in (None, "") or (access.is_person(actor) and given == actor.user.get_username()):
        if actor.user is not None and not access.is_person(actor):
            raise PermissionDenied("log in to add a task")
        return actor.user
    access.require_operator(actor, "change_todo")
    try:
        return access.person_named(str(given))
    except NotHere as exc:
        raise SettingsRefused({"creator": str(exc)}) from None


def change_todo(actor: Actor, todo_id: int, given: Mapping[str, Any]) -> Todo:
    """Change what is named, and nothing else. Of people and tags, a `ListEdit` leaves to others what they did.

    Raises NotHere, PermissionDenied, SettingsRefused.
    """
    access.require_todo(actor, todo_id, "change")
    with _still_there(todo_id):
        before = services.locked(todo_id)
        values = todo_values.read(actor, given, before)
        changed = {
            name: [_short(one) for one in pair] for name, pair in apply(copy.copy(before), values.fields).items()
        }
        people = {name: list(getattr(before, name).values_list("username", flat=True)) for name in values.people}
        with _named():
            services.change(todo_id, values.fields, **values.people)
        for name, names in people.items():
            now = list(getattr(before, name).values_list("username", flat=True))
            if sorted(now) != sorted(names):
                changed[name] = [names, now]
        if changed:
            actor.record("todo.change", todo_id, **changed)
    # Who took themselves off a task sees the last of it.
    return todos(actor).filter(pk=todo_id).first() or find(Todo.objects.defer("search"), todo_id, "task")


@contextmanager
def _named() -> Iterator[None]:
    """What cannot stand together is refused as what cannot stand alone: under its name."""
    try:
        yield
    except TodoValuesRefused as exc:
        raise SettingsRefused(exc.errors) from None


def _short(value: Any) -> Any:
    return f"{value[:_LONGEST_KEPT]}…" if isinstance(value, str) and len(value) > _LONGEST_KEPT else value


def complete_todo(actor: Actor, todo_id: int) -> Completed:
    """Close it as done; one that repeats makes its successor. Raises NotHere, PermissionDenied."""
    return _close(actor, todo_id, cancelled=False)


def cancel_todo(actor: Actor, todo_id: int) -> Completed:
    """Close it as given up; nothing follows it. Raises NotHere, PermissionDenied."""
    return _close(actor, todo_id, cancelled=True)


def _close(actor: Actor, todo_id: int, *, cancelled: bool) -> Completed:
    access.require_todo(actor, todo_id, "change")
    with _still_there(todo_id):
        was_open = services.locked(todo_id).is_open
        completed = services.complete(todo_id, actor.user, cancelled=cancelled)
        if was_open:
            follows = {"successor": completed.successor.pk} if completed.successor else {}
            follows |= {"skipped": completed.skipped} if completed.skipped else {}
            actor.record("todo.cancel" if cancelled else "todo.complete", todo_id, **follows)
        elif completed.todo.cancelled is not cancelled:
            word = "cancelled" if completed.todo.cancelled else "done"
            raise TodoRefused(f"task {todo_id} is {word} already; reopen it first")
    return completed


def reopen_todo(actor: Actor, todo_id: int) -> Todo:
    """Raises NotHere, PermissionDenied."""
    access.require_todo(actor, todo_id, "change")
    with _still_there(todo_id):
        was_open = services.locked(todo_id).is_open
        todo = services.reopen(todo_id)
        if not was_open:
            actor.record("todo.reopen", todo_id)
    return todo


def snooze_todo(actor: Actor, todo_id: int, until: Any, person: str = "") -> Snoozed:
    """Remind again later, and of nothing of the task before. until: see `read_until`.

    Without a person it is oneself, or, where the actor has no part in the task, whoever is responsible for it. For
    others it takes reminders.change_todo. Raises NotHere, PermissionDenied, SettingsRefused, TodoRefused.
    """
    todo = access.require_todo(actor, todo_id, "change")
    people = _snoozing(actor, todo, person)
    if not people:
        raise TodoRefused(
            f"task {todo_id} has no assignee and no creator, so nobody is reminded of it; assign it first"
        )
    with _still_there(todo_id):
        ends = [(user, read_until(until, user)) for user in people]
        for user, at in ends:
            services.snooze(todo_id, user.pk, at)
        names = [user.get_username() for user in people]
        actor.record("todo.snooze", todo_id, until=ends[0][1].isoformat(), people=names)
    return Snoozed(todo, ends[0][1], names)


def _snoozing(actor: Actor, todo: Todo, person: str) -> list[Any]:
    own = access.is_person(actor) and parts.has_part(actor.user.pk, todo.pk)
    if own and person in ("", actor.user.get_username()):
        return [actor.user]
    access.require_operator(actor, "change_todo")
    if person:
        try:
            found = access.person_named(person)
        except NotHere as exc:
            raise SettingsRefused({"person": str(exc)}) from None
        if not parts.has_part(found.pk, todo.pk):
            raise SettingsRefused({"person": f"{shown(person)} has no part in the task; assign it to them first"})
        return [found]
    assigned = list(todo.assignees.filter(is_active=True))
    responsible = recipients(Audience.ASSIGNEES, [user.pk for user in assigned], [], todo.creator_id)
    return assigned or [user for user in [todo.creator] if user is not None and user.pk in responsible]


def delete_todo(actor: Actor, todo_id: int) -> None:
    """With all that belongs to it. Raises NotHere, PermissionDenied for what others made."""
    todo = access.require_todo(actor, todo_id, "delete")
    with _still_there(todo_id):
        actor.record("todo.delete", todo_id, title=todo.title)
        services.delete(todo_id)


@contextmanager
def _still_there(todo_id: int) -> Iterator[None]:
    """A transaction on a task, which somebody may delete after it was looked up. Raises NotHere."""
    try:
        with transaction.atomic():
            yield
    except Todo.DoesNotExist:
        raise NotHere(f"there is no task {todo_id}; it was deleted a moment ago") from None


# --- Several ----------------------------------------------------------------------------------------------------------


def complete_each(actor: Actor, todo_ids: Iterable[int]) -> Each:
    """Each in its own transaction; so are the others. Raises SettingsRefused for too many."""
    return _each(todo_ids, lambda one: complete_todo(actor, one))


def snooze_each(actor: Actor, todo_ids: Iterable[int], until: Any) -> Each:
    """Raises SettingsRefused for a time that is none, before the first."""
    read_until(until, actor.user)
    return _each(todo_ids, lambda one: snooze_todo(actor, one, until))


def assign_each(actor: Actor, todo_ids: Iterable[int], people: list[str]) -> Each:
    """Assign people besides those that are. Raises SettingsRefused for unknown accounts, before the first."""
    access.people_named(people, "people")

    return _each(todo_ids, lambda one: change_todo(actor, one, {"assignees": ListEdit([], people)}))


def delete_each(actor: Actor, todo_ids: Iterable[int]) -> Each:
    return _each(todo_ids, lambda one: delete_todo(actor, one))


def _each(todo_ids: Iterable[int], deed: Callable[[int], object]) -> Each:
    ids = list(dict.fromkeys(todo_ids))
    if len(ids) > MOST_AT_ONCE:
        raise SettingsRefused({"ids": f"has {len(ids):,} tasks; it takes up to {MOST_AT_ONCE:,} at once"})
    outcome = Each()
    for todo_id in ids:
        try:
            deed(todo_id)
        except (NotHere, PermissionDenied, SettingsRefused, TodoRefused, RuleRefused, Todo.DoesNotExist) as exc:
            outcome.skipped.append(f"{todo_id}: {exc.args[0] if exc.args else exc}")
        else:
            outcome.done.append(todo_id)
    return outcome
