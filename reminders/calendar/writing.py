"""Tasks as a calendar, by the letter of RFC 5545: what another program cannot take is written as X-SWITCHYARD-…."""

import functools
import re
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from icalendar import Alarm, Calendar, Timezone
from icalendar import Todo as Component
from icalendar.parser import Parameters
from icalendar.prop import vDatetime, vDDDTypes, vRecur, vText

from reminders import clocks, recurrence
from reminders.calendar.alarms import trigger_of
from reminders.calendar.items import AlarmRule, CalendarTodo, PersonClock

PRODUCT = "-//Switchyard//Reminders//EN"
#: Zones are written for the years in which tasks lie, and these many around them.
MARGIN_YEARS = 1
EARLIEST, LATEST = 1970, 2100
_PRIORITIES = (0, 9, 5, 3, 1)
#: Control characters are none of a text's; a tab and line ends are.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Stamps:
    """When a task was made and changed last, in UTC, and how often its dates were changed."""

    created: datetime
    changed: datetime
    sequence: int


def write(
    todos: Iterable[tuple[CalendarTodo, Stamps]], clock: PersonClock, name: str, note: str = "", *, zones: bool = True
) -> str:
    """A calendar of tasks, with the zones that they name; the same text for the same tasks.

    note: for its description. zones: False leaves their definitions out, for a reader that knows them.
    """
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("x-wr-calname", vText(_clean(name)))
    if note:
        calendar.add("x-wr-caldesc", vText(_clean(note)))
    components = []
    years: dict[str, set[int]] = {}
    for todo, stamps in todos:
        components.append(_component(todo, stamps, clock))
        if todo.time_zone != "UTC":
            timed = [day for day, at in _days(todo) if at is not None]
            if timed:
                years.setdefault(todo.time_zone, set()).update(day.year for day in timed)
    for zone in sorted(years) if zones else ():
        first, last = (min(max(year, EARLIEST), LATEST) for year in (min(years[zone]), max(years[zone])))
        calendar.add_component(_zone(zone, first - MARGIN_YEARS, last + MARGIN_YEARS))
    for component in components:
        calendar.add_component(component)
    return calendar.to_ical().decode()


def _days(todo: CalendarTodo) -> list[tuple[date, time | None]]:
    return [(day, at) for day, at in ((todo.start_date, todo.start_time), (todo.due_date, todo.due_time)) if day]


@functools.lru_cache(maxsize=256)
def _zone(name: str, first: int, last: int) -> Timezone:
    return Timezone.from_tzid(name, first_date=date(first, 1, 1), last_date=date(last + 1, 1, 1))


def _component(todo: CalendarTodo, stamps: Stamps, clock: PersonClock) -> Component:
    component = Component()
    component.add("uid", _clean(todo.uid))
    # Without METHOD, the stamp is that of the last change.
    component.add("dtstamp", stamps.changed.astimezone(UTC).replace(microsecond=0))
    component.add("created", stamps.created.astimezone(UTC).replace(microsecond=0))
    component.add("last-modified", stamps.changed.astimezone(UTC).replace(microsecond=0))
    component.add("sequence", stamps.sequence)
    component.add("summary", _clean(todo.title))
    if todo.notes:
        component.add("description", _clean(todo.notes))
    if todo.priority:
        component.add("priority", _PRIORITIES[todo.priority])
    if todo.tags:
        component.add("categories", [_clean(tag) for tag in todo.tags])
    _add_dates(component, todo)
    _add_status(component, todo)
    for alarm in todo.alarms:
        _add_alarm(component, todo, alarm, clock)
    return component


def _add_dates(component: Component, todo: CalendarTodo) -> None:
    start = _value(todo.start_date, todo.start_time, todo.time_zone)
    due = _value(todo.due_date, todo.due_time, todo.time_zone)
    rule = recurrence.parse(todo.rrule) if todo.rrule and todo.done_at is None else None
    if due is not None:
        component.add("due", due)
    if start is not None and (due is None or _may_stand(todo, rule)):
        component.add("dtstart", start)
    else:
        if start is not None:
            component.add("x-switchyard-start", vDDDTypes(start))
        if rule is not None:
            component.add("dtstart", due)  # a rule needs one, and counts from it
    if rule is not None:
        component.add("rrule", vRecur(_recur(rule, todo)))
        if todo.repeat_from == "completion":
            component.add("x-switchyard-repeat-from", vText("COMPLETION"))


def _may_stand(todo: CalendarTodo, rule: recurrence.Rule | None) -> bool:
    """Whether DTSTART is of the kind of DUE and before it, and gives the rule the same days."""
    assert todo.start_date is not None
    assert todo.due_date is not None
    if (todo.start_time is None) != (todo.due_time is None):
        return False
    if rule is not None and todo.start_date != todo.due_date and not recurrence.is_shiftable(rule):
        return False
    begins, ends = ((day, at or time()) for day, at in _days(todo))
    return begins < ends


def _value(day: date | None, at: time | None, zone: str) -> date | datetime | None:
    if day is None or at is None:
        return day
    at = at.replace(microsecond=0)
    return datetime.combine(day, at, UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone))


def _recur(rule: recurrence.Rule, todo: CalendarTodo) -> dict[str, object]:
    """The rule as icalendar writes it; its end is a moment in UTC where the task has a time."""
    parts: dict[str, object] = {}
    for piece in str(rule).split(";"):
        name, _, value = piece.partition("=")
        parts[name] = value.split(",")
    if rule.until is not None:
        at = todo.due_time.replace(microsecond=0) if todo.due_time is not None else None
        ends = clocks.instant(datetime.combine(rule.until, at), todo.time_zone) if at is not None else rule.until
        parts["UNTIL"] = [ends]
    return parts


def _add_status(component: Component, todo: CalendarTodo) -> None:
    if todo.done_at is None:
        component.add("status", "NEEDS-ACTION")
        return
    component.add("status", "CANCELLED" if todo.cancelled else "COMPLETED")
    component.add("completed", todo.done_at.astimezone(UTC).replace(microsecond=0))
    if not todo.cancelled:
        component.add("percent-complete", 100)


def _add_alarm(component: Component, todo: CalendarTodo, alarm: AlarmRule, clock: PersonClock) -> None:
    is_due = alarm.anchor == "due"
    day, at = (todo.due_date, todo.due_time) if is_due else (todo.start_date, todo.start_time)
    if alarm.at is None and day is None:
        return  # it never fires
    offset, moment = trigger_of(alarm, at is not None, clock)
    if moment is None and not is_due and "DTSTART" not in component:
        # Its start could not be written, so neither can what counts from it.
        assert day is not None
        start = datetime.combine(day, at or time())
        zone = clock.zone if at is None else todo.time_zone
        moment = clocks.shifted(start, zone, clocks.parse_duration(offset))
    reminder = Alarm()
    reminder.add("action", "DISPLAY")
    reminder.add("description", _clean(todo.title))
    if moment is None:
        # As text, so that a day stays a day: as a duration, it might be written as 24 hours.
        trigger = vText(offset)
        trigger.params = Parameters({"RELATED": "END" if is_due else "START"})
        reminder["TRIGGER"] = trigger
    else:
        reminder.add("trigger", vDatetime(moment), parameters={"VALUE": "DATE-TIME"})
    component.add_component(reminder)


def _clean(text: str) -> str:
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
