"""How people want to be reminded: their clock, their hours, and what comes to them next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from jobs.operators.actors import Actor
from jobs.operators.settings import Settings, SettingsRefused, apply
from reminders.models import PlannedReminder, Preferences, Priority
from reminders.operators import access
from reminders.operators.times import preferences_of, read_until, shown_in
from reminders.services import holding, parts, reach
from reminders.wording import kind_words

MOST_AHEAD = 200


@dataclass(frozen=True)
class Upcoming:
    """A reminder that is planned. local: on the person's own clock. held_until, why: what would hold or stop it."""

    planned: PlannedReminder
    what: str
    local: str
    held_until: datetime | None
    why: str


def preferences(actor: Actor, username: str = "") -> Preferences:
    """One's own, or with reminders.view_preferences another's; not saved, where nothing was set.

    Raises PermissionDenied, NotHere.
    """
    return preferences_of(access.require_self_or(actor, username, "view_preferences"))


def change_preferences(actor: Actor, given: Mapping[str, Any], username: str = "") -> Preferences:
    """Change what is named, and have that person's tasks planned anew by a job.

    What is held for them is sent by the next scan, or held by what counts then. paused_until: as `read_until`
    takes it, or null. Others' with reminders.change_preferences. Raises PermissionDenied, NotHere, SettingsRefused.
    """
    from reminders.tasks import replan_person

    user = access.require_self_or(actor, username, "change_preferences")
    plain = {str(name): value for name, value in given.items()}
    if plain.get("paused_until") not in (None, ""):
        plain["paused_until"] = read_until(plain["paused_until"], user, "paused_until")
    values = _SETTINGS.read(plain)
    with transaction.atomic():
        if holding.HOLDING & values.keys():
            holding.wait_for_scan()
        row, _ = Preferences.objects.select_for_update().get_or_create(user=user, defaults=_usual(user))
        changed = apply(row, values)
        _check_quiet_hours(row)
        if changed:
            row.save()
            actor.record("preferences.change", user.get_username(), **changed)
            replan_person.delay(user.pk)
        if holding.HOLDING & changed.keys():
            holding.look_anew(user.pk)
    return row


def _check_quiet_hours(row: Preferences) -> None:
    """Raises SettingsRefused."""
    if (row.quiet_from is None) is not (row.quiet_until is None):
        missing = "quiet_from" if row.quiet_from is None else "quiet_until"
        raise SettingsRefused({missing: "is missing; quiet hours have a beginning and an end"})
    if row.quiet_from is not None and row.quiet_from == row.quiet_until:
        why = f"is {row.quiet_until:%H:%M}, when they begin, so they would be never or always"
        do = "enter another time, leave both empty to be never quiet, or pause reminders to get none"
        raise SettingsRefused({"quiet_until": f"{why}; {do}"})


def upcoming(actor: Actor, username: str = "", limit: int = 20) -> list[Upcoming]:
    """What comes to somebody next, by time, with what would hold it by what is set now. In a few statements.

    Others' with reminders.view_preferences and view_todo, as it names their tasks. Raises PermissionDenied, NotHere.
    """
    user = access.require_self_or(actor, username, "view_preferences")
    if not (access.is_person(actor) and user.pk == actor.user.pk):
        access.require_operator(actor, "view_todo")
    planned = PlannedReminder.objects.filter(parts.concerns(user.pk), recipient=user, todo__done_at=None)
    planned = planned.select_related("todo", "rule", "rule__person")
    rows = planned.defer("todo__search").order_by("fire_at", "id")[: max(1, min(limit, MOST_AHEAD))]
    way = reach.of(user)
    zone = way.preferences.time_zone
    ahead = []
    for row in rows:
        row.recipient = user
        held = way.held_until(row.fire_at, urgent=row.todo.priority == Priority.URGENT)
        why = way.nobody or (reach.why_held(way, row.fire_at) if held else "")
        ahead.append(Upcoming(row, kind_words(row.kind, row.rule), shown_in(row.fire_at, zone), held, why))
    return ahead


def _usual(user: Any) -> dict[str, Any]:
    """What counted until now for somebody who had set nothing."""
    kept = preferences_of(user)
    return {"time_zone": kept.time_zone}


def _digest_rule(value: int) -> str:
    return "" if value == 0 or 2 <= value <= 100 else f"is {value}; it takes 2 to 100, or 0 for none"


_SETTINGS = Settings(
    Preferences,
    ("time_zone", "anchor_time", "quiet_from", "quiet_until", "urgent_bypasses_quiet", "digest_from", "paused_until"),
    {"digest_from": _digest_rule},
)
