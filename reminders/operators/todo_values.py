"""What people set of a task: read and checked, each error under the name of what it is about."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from jobs.edit_forms import ListEdit
from jobs.operators.actors import Actor
from jobs.operators.lookups import LARGEST_ID
from jobs.operators.search import is_storable
from jobs.operators.settings import Settings, SettingsRefused, shown
from reminders import recurrence
from reminders.models import Priority, Project, Todo
from reminders.operators import access
from reminders.operators.times import split

PRIORITIES = {priority.name.lower(): priority.value for priority in Priority}
PRIORITY_WORDS = tuple(PRIORITIES)
#: A day, or a day and a time, in one text: due=2027-01-31T09:00 sets due_date and due_time.
SHORT = ("start", "due")
PEOPLE = ("assignees", "watchers")
_FIRST, _LAST = date(1970, 1, 1), date(2999, 12, 31)


@dataclass(frozen=True)
class Values:
    """fields: of columns, as they hold them. people: assignees and watchers by id, where given. rules: as given."""

    fields: dict[str, Any]
    people: dict[str, list[int]] = field(default_factory=dict)
    rules: list[Any] = field(default_factory=list)


def read(actor: Actor, given: Mapping[str, Any], todo: Todo | None = None) -> Values:
    """todo: the one that is changed, locked; None for a new one. Raises SettingsRefused, naming all that is wrong.

    A list of people or tags may be a `ListEdit`.
    """
    plain = {name: _listed(value, name, todo) for name, value in _spread(given).items()}
    errors: dict[str, str] = {}
    people: dict[str, list[int]] = {}
    for name in PEOPLE:
        if name in plain:
            try:
                on_list = getattr(todo, name).all() if todo is not None else None
                people[name] = access.people_named(plain.pop(name), name, on_list)
            except SettingsRefused as exc:
                errors |= exc.errors
    rules = plain.pop("rules", []) if todo is None else []
    if not isinstance(rules, list):
        errors["rules"] = f'is {shown(rules)}; it takes a list of objects, such as [{{"offset": "-PT1H"}}]'
    try:
        fields = _SETTINGS.read({name: value for name, value in plain.items() if name != "project"})
        if "project" in plain:
            fields["project"] = _project(actor, plain["project"], todo)
        if not errors:
            _check(fields, todo)
    except SettingsRefused as exc:
        errors |= _with_choices(exc.errors, todo)
    if errors:
        raise SettingsRefused(errors)
    return Values(fields, people, rules)


def _listed(value: Any, name: str, todo: Todo | None) -> Any:
    """Of an edited list, what it is to be: whoever else added or took off an entry meanwhile keeps that."""
    if not isinstance(value, ListEdit):
        return value
    if todo is None:
        return value.after([])
    return value.after(list(getattr(todo, name).values_list("username", flat=True)) if name in PEOPLE else todo.tags)


def priority_named(value: Any) -> Any:
    """Its number, for one of the words; anything else is left as it is, to be refused."""
    return PRIORITIES.get(value, value) if isinstance(value, str) else value


def _spread(given: Mapping[str, Any]) -> dict[str, Any]:
    plain = {str(name): value for name, value in given.items()}
    for name in SHORT:
        if name in plain:
            plain[f"{name}_date"], plain[f"{name}_time"] = split(plain.pop(name))
    if "priority" in plain:
        value = plain["priority"]
        if isinstance(value, str) and value not in PRIORITIES:
            raise SettingsRefused({"priority": f"is {shown(value)}; choose from: {', '.join(PRIORITIES)}"})
        plain["priority"] = priority_named(value)
    return plain


def _with_choices(errors: Mapping[str, str], todo: Todo | None) -> dict[str, str]:
    """What is unknown is told of with all that is known."""
    known = ", ".join([*_SETTINGS.names, *SHORT, "project", *PEOPLE, *(["rules"] if todo is None else [])])
    unknown = "unknown setting"
    return {
        name: f"{unknown}; choose from: {known}" if text.startswith(unknown) else text for name, text in errors.items()
    }


def _project(actor: Actor, given: Any, todo: Todo | None) -> Project | None:
    """By number or name, one that the actor may see; the one that the task has already may be given by anybody."""
    if given is None or given == "":
        return None
    if todo is not None and todo.project is not None and given in (todo.project_id, todo.project.name):
        return todo.project
    found = None
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= LARGEST_ID:
        found = access.visible_projects(actor).filter(pk=given).first()
    elif isinstance(given, str) and is_storable(given):
        found = access.visible_projects(actor).filter(name=given).first()
    if found is None:
        raise SettingsRefused({"project": f"there is no project {shown(given)}; see the list of projects"})
    return found


def _check(fields: Mapping[str, Any], todo: Todo | None) -> None:
    """Whether the task is whole with them."""
    now = {name: fields.get(name, getattr(todo, name) if todo is not None else None) for name in _TOGETHER}
    errors = {}
    if todo is None and not fields.get("title"):
        errors["title"] = "is missing; it takes a text"
    for name in SHORT:
        if fields.get(f"{name}_time") is not None and now[f"{name}_date"] is None:
            errors[f"{name}_time"] = f"needs a {name}_date; give one, or leave the time out"
    if now["start_date"] is not None and now["due_date"] is not None and _later(now):
        errors["start_date" if "start_date" in fields else "due_date"] = "the start is after it is due; change one"
    if now["rrule"] and now["due_date"] is None:
        errors["rrule" if fields.get("rrule") else "due_date"] = "a task that repeats needs a due date"
    elif fields.get("rrule"):
        try:
            day = now["due_date"]
            recurrence.next_date(fields["rrule"], first=day, due=day, occurrence=0, done_on=None)
        except recurrence.RuleRefused as exc:
            errors["rrule"] = str(exc)
    if errors:
        raise SettingsRefused(errors)


def _later(now: Mapping[str, Any]) -> bool:
    """Whether it starts after it is due."""
    if now["start_date"] != now["due_date"]:
        return bool(now["start_date"] > now["due_date"])
    clocks = now["start_time"], now["due_time"]
    return None not in clocks and clocks[0] > clocks[1]


def _one_line(value: str) -> str:
    steering = any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in value)
    return "has a line break or another control character; write it on one line" if steering else ""


def _title(value: str) -> str:
    """Something of it has to be seen: lists name a task, and link to it, by its title alone."""
    seen = any(unicodedata.category(character)[0] not in "CZ" for character in value)
    return _one_line(value) or ("" if seen or not value else "has nothing to show; write a word")


def _each_on_one_line(values: list[str]) -> str:
    return next((problem for value in values if (problem := _one_line(value))), "")


def _day_rule(value: date | None) -> str:
    in_range = value is None or _FIRST <= value <= _LAST
    return "" if in_range else f"is {value}; it takes a day from {_FIRST} to {_LAST}"


_TOGETHER = ("start_date", "start_time", "due_date", "due_time", "rrule")
_SETTINGS = Settings(
    Todo,
    (
        *("title", "notes", "priority", "tags", "time_zone", "start_date", "start_time", "due_date", "due_time"),
        *("overdue_reminders", "rrule", "repeat_from"),
    ),
    {"title": _title, "tags": _each_on_one_line, "start_date": _day_rule, "due_date": _day_rule},
)
