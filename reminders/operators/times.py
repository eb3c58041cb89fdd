"""Times as people give them: until when, in their own zone."""

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from jobs.operators.settings import SettingsRefused, shown
from reminders import clocks, moment
from reminders.models import Preferences, Todo
from reminders.services.planning import default_preferences

_HELP = "it takes a duration such as PT1H or P1D, a day, or a time such as 2027-01-31T09:00"


def preferences_of(user: Any) -> Preferences:
    """Somebody's preferences; the usual ones, not saved, for whoever has set none."""
    return getattr(user, "reminder_preferences", None) or default_preferences(user)


def read_until(given: Any, user: Any, setting: str = "until") -> datetime:
    """The instant that is meant: a duration from now, or a time of the person's clock unless it names its zone.

    A day alone is meant at the person's hour for such (`anchor_time`). user: None for nobody's clock, which is the
    installation's. Raises SettingsRefused, naming the setting.
    """
    kept = preferences_of(user) if user is not None else default_preferences(None)
    now = moment.now()
    try:
        until = _duration(given, kept.time_zone, now) if _is_duration(given) else _time(given, kept)
    except (ValueError, OverflowError) as exc:
        why = str(exc) if isinstance(exc, clocks.BadDuration) else f"is {shown(given)}; {_HELP}"
        raise SettingsRefused({setting: why}) from None
    if until <= now:
        raise SettingsRefused({setting: f"{shown_in(until, kept.time_zone)} has passed; give a later time"})
    if (until - now).days > clocks.LONGEST_DAYS:
        raise SettingsRefused({setting: f"is more than {clocks.LONGEST_DAYS:,} days away; give an earlier time"})
    return until


def _is_duration(given: Any) -> bool:
    return isinstance(given, str) and given.lstrip("+-").startswith("P")


def _duration(given: str, zone: str, now: datetime) -> datetime:
    """Days are days of the clock, hours are exact."""
    duration = clocks.parse_duration(given)
    if not duration.days:
        return now + timedelta(seconds=duration.seconds)
    return clocks.shifted(clocks.local(now, zone), zone, duration)


def _time(given: Any, kept: Preferences) -> datetime:
    if isinstance(given, str) and len(given) < 40:
        given = date.fromisoformat(given) if len(given) == len("2027-01-31") else datetime.fromisoformat(given)
    if isinstance(given, datetime):
        if not 1970 <= given.year < 3000:
            raise ValueError(given)
        return clocks.instant(given, kept.time_zone) if given.tzinfo is None else given.astimezone(UTC)
    if not isinstance(given, date) or not 1970 <= given.year < 3000:
        raise ValueError(given)
    return clocks.instant(datetime.combine(given, kept.anchor_time), kept.time_zone)


def split(given: Any) -> tuple[Any, Any]:
    """A day, or a day and a time of the clock, written as one text: 2027-01-31 or 2027-01-31T09:00."""
    if not isinstance(given, str):
        return given, None
    day, _, clock = given.partition("T" if "T" in given else " ")
    return day, clock or None


def shown_in(at: datetime | None, zone: str) -> str:
    """On the clock of a zone, with its distance from UTC: 2027-01-31T09:00:00+01:00."""
    if at is None:
        return ""
    try:
        return at.astimezone(zoneinfo.ZoneInfo(zone)).isoformat(timespec="seconds")
    except (LookupError, ValueError, OSError):
        return at.isoformat(timespec="seconds")


def due_text(todo: Todo) -> str:
    """When it is due, as it was entered: 2027-01-31, or 2027-01-31 09:00 Europe/Berlin."""
    if todo.due_date is None:
        return ""
    return f"{todo.due_date} {clock_text(todo.due_time)} {todo.time_zone}" if todo.due_time else str(todo.due_date)


def clock_text(clock: time) -> str:
    return clock.isoformat(timespec="seconds" if clock.second else "minutes")
