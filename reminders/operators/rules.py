"""Rules: of a task, for those who may change it; and the default rules of a person. The plan follows each change."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet

from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere, find
from jobs.operators.search import is_storable
from jobs.operators.settings import Settings, SettingsRefused, apply, shown
from reminders.clocks import BadDuration, Duration, parse_duration
from reminders.models import DefaultRule, ReminderRule, Todo
from reminders.operators import access
from reminders.operators.times import split
from reminders.services import parts, planning, todos

#: Of a task, and of a person by default.
MOST_RULES = 20
_ABSOLUTE = ("at_date", "at_time", "time_zone")


def rules_of_todo(actor: Actor, todo_id: int) -> "QuerySet[ReminderRule]":
    """A task's own rules. Raises NotHere."""
    todo = access.require_todo(actor, todo_id, "view")
    return ReminderRule.objects.filter(todo=todo).select_related("person").order_by("id")


def default_rules(actor: Actor, username: str = "") -> "QuerySet[ReminderRule]":
    """By which a person is reminded of tasks without rules of their own. Raises PermissionDenied, NotHere."""
    user = access.require_self_or(actor, username, "view_reminderrule")
    return ReminderRule.objects.filter(todo=None, person=user).select_related("person").order_by("id")


def default_rules_of_all(actor: Actor, *, search: str = "") -> "QuerySet[DefaultRule]":
    """Of everybody, in no order. search: the beginning of an account's name.

    Raises PermissionDenied (reminders.view_reminderrule, or change_preferences, which may change them).
    """
    if not actor.may("reminders.change_preferences"):
        access.require_operator(actor, "view_reminderrule")
    found, text = DefaultRule.objects.select_related("person"), search.strip()
    if not is_storable(text):
        return found.none()
    return found.filter(person__username__startswith=text) if text else found


def find_rule(actor: Actor, rule_id: int) -> ReminderRule:
    """Raises NotHere, also for one of a task or a person that the actor may not see."""
    return _found(actor, rule_id, "view")


def add_rule(actor: Actor, todo_id: int, given: Mapping[str, Any]) -> ReminderRule:
    """given: offset and anchor, or at_date, at_time and time_zone (or both as `at`); for an audience or a person.

    Raises NotHere, PermissionDenied, SettingsRefused.
    """
    access.require_todo(actor, todo_id, "change")
    with transaction.atomic():
        rule = _add(actor, _locked_task(todo_id), given)
        planning.replan([todo_id])
    return rule


def add_rule_once(actor: Actor, todo_id: int, given: Mapping[str, Any]) -> None:
    """As `add_rule`, unless the task has that rule: a form may be sent twice at the same moment."""
    wanted = {name: value for name, value in given.items() if name != "person"}
    wanted["person"] = actor.user.pk if "person" in given else None
    with transaction.atomic():
        _locked_task(todo_id)
        if not rules_of_todo(actor, todo_id).filter(**wanted).exists():
            add_rule(actor, todo_id, given)


def _locked_task(todo_id: int) -> Todo:
    try:
        return todos.locked(todo_id)
    except Todo.DoesNotExist:
        raise NotHere(f"there is no task {todo_id}; it was deleted a moment ago") from None


def add_to_new(actor: Actor, todo: Todo, given: list[Any]) -> None:
    """The rules that a new task comes with, in its transaction. Raises SettingsRefused."""
    if len(given) > MOST_RULES:
        raise SettingsRefused({"rules": f"has {len(given):,} entries; it takes up to {MOST_RULES}"})
    for number, one in enumerate(given):
        if not isinstance(one, Mapping):
            raise SettingsRefused({"rules": f'entry {number + 1} is {shown(one)}; it takes {{"offset": "-PT1H"}}'})
        try:
            _add(actor, todo, one)
        except SettingsRefused as exc:
            told = "; ".join(f"{name} {text}" for name, text in exc.errors.items())
            raise SettingsRefused({"rules": f"entry {number + 1}: {told}"}) from None
    planning.replan([todo.pk])


def _add(actor: Actor, todo: Todo, given: Mapping[str, Any]) -> ReminderRule:
    if ReminderRule.objects.filter(todo=todo).count() >= MOST_RULES:
        raise SettingsRefused({"rules": f"the task has {MOST_RULES} rules, the most it takes; delete one first"})
    rule = ReminderRule(todo=todo)
    apply(rule, _read(_SETTINGS, given))
    rule.person = _person(actor, todo, given["person"]) if given.get("person") else None
    _complete(rule, actor)
    rule.save()
    actor.record("rule.create", todo.pk, rule=rule.pk, what=str(rule))
    return rule


def add_default_rule(actor: Actor, given: Mapping[str, Any], username: str = "") -> ReminderRule:
    """Of oneself, or of others with reminders.change_preferences. Raises PermissionDenied, NotHere, SettingsRefused."""
    user = access.require_self_or(actor, username, "change_preferences")
    rule = ReminderRule(person=user)
    apply(rule, _read(_DEFAULT_SETTINGS, given))
    _complete(rule, actor)
    with transaction.atomic():
        _lock_defaults(user.pk)
        if ReminderRule.objects.filter(todo=None, person=user).count() >= MOST_RULES:
            why = f"there are {MOST_RULES} default rules, the most one has; delete one first"
            raise SettingsRefused({"offset": why})
        _save(rule)
        actor.record("rule.create", user.get_username(), rule=rule.pk, what=str(rule))
        _replan(rule)
    return rule


def change_rule(actor: Actor, rule_id: int, given: Mapping[str, Any]) -> ReminderRule:
    """Change what is named. What was set aside is tried again. Raises NotHere, PermissionDenied, SettingsRefused."""
    with transaction.atomic():
        rule = _locked(actor, rule_id)
        values = _read(_SETTINGS if rule.todo_id else _DEFAULT_SETTINGS, given)
        changed = apply(rule, values)
        if rule.todo is not None and "person" in given:
            rule.person = _person(actor, rule.todo, given["person"]) if given["person"] else None
            changed["person"] = str(rule.person or "")
        if changed:
            rule.failures, rule.set_aside_at, rule.set_aside_because = 0, None, ""
            _complete(rule, actor)
            _save(rule)
            actor.record("rule.change", _target(rule), rule=rule.pk, what=str(rule), **changed)
            _replan(rule, renewed=True)
    return rule


def enable_rule(actor: Actor, rule_id: int) -> ReminderRule:
    """Have one that was set aside tried again. Raises NotHere, PermissionDenied."""
    with transaction.atomic():
        rule = _locked(actor, rule_id)
        if rule.set_aside_at is not None:
            actor.record("rule.enable", _target(rule), rule=rule.pk, was=rule.set_aside_because)
            rule.failures, rule.set_aside_at, rule.set_aside_because = 0, None, ""
            rule.save()
            _replan(rule)
    return find_rule(actor, rule_id)


def delete_rule(actor: Actor, rule_id: int) -> None:
    """Raises NotHere, PermissionDenied."""
    with transaction.atomic():
        rule = _locked(actor, rule_id)
        actor.record("rule.delete", _target(rule), rule=rule.pk, what=str(rule))
        todo_id, person_id = rule.todo_id, rule.person_id
        rule.delete()
        _replan(ReminderRule(todo_id=todo_id, person_id=person_id))


# --- Inside -----------------------------------------------------------------------------------------------------------


def _found(actor: Actor, rule_id: int, need: access.Need) -> ReminderRule:
    rule = find(ReminderRule.objects.select_related("todo", "person").defer("todo__search"), rule_id, "reminder rule")
    try:
        if rule.todo_id is not None:
            access.require_todo(actor, rule.todo_id, need)
            return rule
        own = access.is_person(actor) and rule.person_id == actor.user.pk
        if not own and not actor.may("reminders.view_reminderrule") and not actor.may("reminders.change_preferences"):
            raise NotHere
    except NotHere:
        raise NotHere(f"there is no reminder rule {rule_id}") from None
    if not own and need != "view":
        access.require_operator(actor, "change_preferences")
    return rule


def _locked(actor: Actor, rule_id: int) -> ReminderRule:
    """For a change. Of a task, the task is locked before its rule, as by all who plan; else, all of the person's."""
    rule = _found(actor, rule_id, "change")
    if rule.todo_id is None:
        _lock_defaults(rule.person_id or 0)
        return _found(actor, rule_id, "change")
    try:
        todos.locked(rule.todo_id)
    except Todo.DoesNotExist:
        raise NotHere(f"there is no reminder rule {rule_id}") from None
    return _found(actor, rule_id, "change")


def _read(settings: Settings, given: Mapping[str, Any]) -> dict[str, Any]:
    plain = {str(name): value for name, value in given.items() if name != "person" or settings is _DEFAULT_SETTINGS}
    if "at" in plain and settings is _SETTINGS:
        plain["at_date"], plain["at_time"] = split(plain.pop("at"))
    if plain.get("at_date") is not None and "offset" not in plain:
        plain["offset"] = ""
    if plain.get("offset") and "at_date" not in plain and settings is _SETTINGS:
        plain |= {"at_date": None, "at_time": None, "time_zone": ""}
    return settings.read(plain)


def _complete(rule: ReminderRule, actor: Actor) -> None:
    """Whether it is one or the other, relative or absolute, and whole."""
    if rule.at_date is None and rule.at_time is None:
        if not rule.offset:
            raise SettingsRefused({"offset": "is missing; it takes a duration such as -PT15M, -P1D or PT0S"})
        rule.time_zone = ""
        return
    if rule.offset:
        raise SettingsRefused({"offset": "a rule has an offset or a date, not both; leave one out"})
    if rule.at_date is None or rule.at_time is None:
        missing = "at_date" if rule.at_date is None else "at_time"
        raise SettingsRefused({missing: "is missing; a rule for a time has at_date and at_time"})
    if not 1970 <= rule.at_date.year < 3000:
        raise SettingsRefused({"at_date": f"is {rule.at_date}; it takes a day from 1970-01-01 to 2999-12-31"})
    zone_of_task = rule.todo.time_zone if rule.todo is not None else "UTC"
    rule.time_zone = rule.time_zone or (todos.zone_of(actor.user) if access.is_person(actor) else zone_of_task)


def _person(actor: Actor, todo: Todo, given: Any) -> Any:
    """One who has a part in the task: others would be told of what they may not see."""
    try:
        user = access.person_named(str(given))
    except NotHere as exc:
        raise SettingsRefused({"person": str(exc)}) from None
    if not parts.has_part(user.pk, todo.pk):
        raise SettingsRefused({"person": f"{shown(given)} has no part in the task; have them assigned or watching"})
    return user


def _lock_defaults(person_id: int) -> None:
    """So that nobody else adds or changes a default rule of theirs meanwhile. Raises NotHere for a deleted account."""
    people = get_user_model()._default_manager.select_for_update(no_key=True)
    if not list(people.filter(pk=person_id).values_list("pk")):
        raise NotHere("there is no such account; it was deleted a moment ago")


def _save(rule: ReminderRule) -> None:
    """Raises SettingsRefused for a default rule that means the same as another one."""
    if rule.todo_id is None:
        meant = _meaning(rule.offset)
        others = ReminderRule.objects.filter(todo=None, person=rule.person_id, anchor=rule.anchor).exclude(pk=rule.pk)
        for offset in others.values_list("offset", flat=True):
            if _meaning(offset) == meant:
                raise SettingsRefused({"offset": f"there is a default rule of {offset} already; change that"})
    rule.save()


def _meaning(offset: str) -> Duration | str:
    try:
        return parse_duration(offset)
    except BadDuration:  # of a rule that will be set aside
        return offset


def _replan(rule: ReminderRule, *, renewed: bool = False) -> None:
    """renewed: it was changed, and fires anew."""
    if rule.todo_id is not None:
        planning.replan([rule.todo_id], renewed=rule.pk if renewed else None)
    elif rule.person_id is not None:
        from reminders.tasks import replan_person

        replan_person.delay(rule.person_id, rule.pk if renewed else None)


def _target(rule: ReminderRule) -> str:
    return str(rule.todo_id) if rule.todo_id is not None else str(rule.person)


_SETTINGS = Settings(ReminderRule, ("audience", "anchor", "offset", *_ABSOLUTE))
_DEFAULT_SETTINGS = Settings(ReminderRule, ("anchor", "offset"))
