"""Calendars in and out, and their feeds, as people and operators use them."""

from typing import Any

from django.db import transaction

from jobs.operators.actors import Actor
from reminders.models import CalendarFeed
from reminders.services import calendars, feeds
from reminders.services.calendars import Imported

#: Of an import, so many numbers of tasks are kept in the audit log.
MOST_NAMED = 100


def import_calendar(actor: Actor, person: Any, data: bytes | str) -> Imported:
    """Take a calendar's tasks in for a person: oneself, or, with reminders.add_todo and change_todo, another.

    Raises PermissionDenied, CalendarRefused for what is no calendar. What is wrong with single tasks is in the result.
    """
    _require(actor, person, "reminders.add_todo", "reminders.change_todo")
    result = calendars.import_calendar(person, data)
    actor.record(
        "calendar.import",
        person.get_username(),
        created=result.created[:MOST_NAMED],
        updated=result.updated[:MOST_NAMED],
        counts={name: len(getattr(result, name)) for name in ("created", "updated", "unchanged", "errors")},
    )
    return result


def export_calendar(actor: Actor, person: Any) -> str:
    """A person's tasks as iCalendar: one's own, or, with reminders.view_todo, another's. Raises PermissionDenied."""
    _require(actor, person, "reminders.view_todo")
    return calendars.calendar_of(person)


def find_feed(actor: Actor, person: Any) -> CalendarFeed | None:
    """A person's feed; its secret is not kept. Raises PermissionDenied (reminders.view_calendarfeed for another's)."""
    _require(actor, person, "reminders.view_calendarfeed")
    return CalendarFeed.objects.filter(user=person).first()


def renew_feed(actor: Actor, person: Any) -> tuple[CalendarFeed, str]:
    """Make a person's feed anew; the former address ends. Returns it and its address, which is not to be had again.

    Raises PermissionDenied (for another's: reminders.change_calendarfeed and view_todo, as it shows their tasks).
    """
    _require(actor, person, "reminders.change_calendarfeed", "reminders.view_todo")
    with transaction.atomic():
        feed, secret = feeds.renew(person)
        actor.record("calendar_feed.renew", person.get_username())
    return feed, feeds.url_of(secret)


def revoke_feed(actor: Actor, person: Any) -> bool:
    """End a person's feed; whether there was one. Raises PermissionDenied (reminders.delete_calendarfeed)."""
    _require(actor, person, "reminders.delete_calendarfeed")
    with transaction.atomic():
        revoked = feeds.revoke(person)
        if revoked:
            actor.record("calendar_feed.revoke", person.get_username())
    return revoked


def _require(actor: Actor, person: Any, *permissions: str) -> None:
    """Whether it is the actor's own, or the actor has all these permissions. Raises PermissionDenied."""
    own = actor.user is not None and actor.user.is_active and actor.user.pk == person.pk
    for permission in () if own else permissions:
        actor.require(permission)
