"""VALARM and our rules, one from the other.

The arithmetic is done here, on the trigger as it is written: days are days of the clock, hours are exact. What is due
on a day, at no time of it, is counted from midnight in calendars, and from its person's anchor time by our rules.
"""

from datetime import UTC, date, datetime, time, timedelta

from reminders import clocks
from reminders.calendar.items import AlarmRule, ItemRefused, PersonClock
from reminders.calendar.lines import Component, Line
from reminders.calendar.values import Zones, day_or_moment
from reminders.clocks import BadDuration, Duration, parse_duration

MAX_ALARMS = 20
DAY = 86400


def read_alarm(
    component: Component,
    clock: PersonClock,
    zones: Zones,
    start: tuple[date | None, time | None],
    due: date | None,
    due_time: time | None,
) -> AlarmRule | None:
    """The rule of a VALARM; None for one that says to do nothing. start: the task's date and time.

    Raises ItemRefused.
    """
    action = component.first("ACTION")
    if action is not None and action.value.strip().upper() == "NONE":
        return None
    trigger = component.first("TRIGGER")
    if trigger is None:
        raise ItemRefused("a VALARM has no TRIGGER", "write one such as TRIGGER:-PT15M")
    if "P" not in trigger.value.upper():
        return _absolute(trigger, zones)
    try:
        offset = parse_duration(trigger.value.strip().upper())
    except BadDuration as exc:
        raise ItemRefused(f"TRIGGER: {exc}", "write it as a duration, or as a time in UTC") from None
    to_end = trigger.params.get("RELATED", "START").upper() == "END"
    # Most programs write a task with DUE alone, and mean that, whatever RELATED says; and the other way round.
    anchor = "due" if due is not None and (to_end or start[0] is None) else "start"
    day, at = (due, due_time) if anchor == "due" else start
    if day is None:
        raise ItemRefused("a VALARM counts from DTSTART or DUE, and there is neither", "give the task a DUE")
    return AlarmRule(anchor=anchor, offset=str(offset if at is not None else _from_midnight(offset, clock.anchor)))


def _absolute(trigger: Line, zones: Zones) -> AlarmRule:
    day, at, zone = day_or_moment(trigger, zones)
    if at is None:
        raise ItemRefused(f"TRIGGER is {trigger.value[:40]!r}, a day without a time", "give it a time")
    return AlarmRule(at=datetime.combine(day, at), zone=zone)


def trigger_of(rule: AlarmRule, timed: bool, clock: PersonClock) -> tuple[str, datetime | None]:
    """What a VALARM says for a rule: a duration and None, or "" and a moment in UTC. timed: whether its day has a time.

    Raises BadDuration.
    """
    if rule.at is not None:
        return "", clocks.instant(rule.at, rule.zone).astimezone(UTC)
    offset = parse_duration(rule.offset)
    return str(offset if timed else _to_midnight(offset, clock.anchor)), None


def _from_midnight(offset: Duration, anchor: time) -> Duration:
    return _wall(offset.days * DAY + offset.seconds - _seconds(anchor))


def _to_midnight(offset: Duration, anchor: time) -> Duration:
    return _wall(offset.days * DAY + offset.seconds + _seconds(anchor))


def _wall(seconds: int) -> Duration:
    """So many seconds of the clock, whole days as such: nothing else is the same at every clock change."""
    sign = -1 if seconds < 0 else 1
    days, rest = divmod(abs(seconds), DAY)
    return Duration(sign * days, sign * rest)


def _seconds(anchor: time) -> int:
    return int(timedelta(hours=anchor.hour, minutes=anchor.minute, seconds=anchor.second).total_seconds())
