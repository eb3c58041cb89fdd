"""A VTODO as a task. What cannot be read of one is named, and stops no other."""

import hashlib
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from time import monotonic

from reminders import clocks, recurrence
from reminders.calendar import lines
from reminders.calendar.alarms import MAX_ALARMS, read_alarm
from reminders.calendar.items import AlarmRule, CalendarProblem, CalendarTodo, ItemRefused, PersonClock
from reminders.calendar.lines import Component
from reminders.calendar.values import Zones, day_or_moment, text_of, texts_of, utc_moment, words_of
from reminders.recurrence import RuleRefused

LONGEST_TITLE = 500
LONGEST_NOTES = 20_000
LONGEST_TAG = 50
LONGEST_UID = 255
MAX_TAGS = 50
MOST_SECONDS = 20.0
UNTITLED = "Untitled"
#: Properties that make other dates than a rule, and what to do about them.
_NOT_TAKEN = {
    "RECURRENCE-ID": "changes one date of a series",
    "EXRULE": "takes dates out of a series",
    "EXDATE": "takes dates out of a series",
    "RDATE": "adds dates to a series",
}


def read_todos(
    data: bytes | str, clock: PersonClock, now: datetime, most_seconds: float = MOST_SECONDS
) -> tuple[list[CalendarTodo], list[CalendarProblem]]:
    """The tasks of a calendar, and what is wrong with it. now: when a task was done of which that is not told.

    What is not read within most_seconds is told of: rules and zones can be made that take long to work out.
    Raises CalendarRefused.
    """
    contents = lines.read(data)
    ends = monotonic() + most_seconds
    zones = Zones(clock.zone, contents.zones)
    found: dict[str, CalendarTodo] = {}
    problems: list[CalendarProblem] = []
    for component in contents.todos:
        uid, title = _uid(component), words_of(component.first("SUMMARY"))
        told = CalendarProblem(component.begins, "", "", uid[:LONGEST_UID], title[:LONGEST_TITLE])
        if not component.ended:
            continue  # told of with the file
        try:
            if monotonic() > ends:
                raise ItemRefused("there was no time left for it", "import it in a file of its own")
            if uid in found:
                raise ItemRefused("its UID comes twice in the file", "the first one was taken; give this one its own")
            found[uid] = _Reading(component, clock, zones, now).todo(uid, title)
        except ItemRefused as exc:
            problems.append(replace(told, what=exc.what, remedy=exc.remedy))
    problems += [_of_todo(problem, contents.todos) for problem in contents.problems]
    return list(found.values()), sorted(problems, key=lambda problem: problem.line)


def _of_todo(problem: CalendarProblem, todos: list[Component]) -> CalendarProblem:
    """With the name of the task within which, or after which, it lies."""
    within = next((todo for todo in reversed(todos) if todo.begins <= problem.line), None)
    if within is None:
        return problem
    return replace(problem, uid=_uid(within)[:LONGEST_UID], summary=words_of(within.first("SUMMARY"))[:LONGEST_TITLE])


def _uid(component: Component) -> str:
    """Its UID; of a task without one, its content's digest, so that it is known again."""
    uid = words_of(component.first("UID"))
    if uid:
        return uid
    content = "\n".join(f"{line.name}:{line.value}" for line in component.lines if line.name != "DTSTAMP")
    return f"{hashlib.sha256(content.encode()).hexdigest()[:32]}@no-uid"


class _Reading:
    """Reads one component. Each method raises ItemRefused."""

    def __init__(self, component: Component, clock: PersonClock, zones: Zones, now: datetime) -> None:
        self.component, self.clock, self.zones, self.now = component, clock, zones, now

    def todo(self, uid: str, title: str) -> CalendarTodo:
        for name, why in _NOT_TAKEN.items():
            if self.component.first(name) is not None:
                raise ItemRefused(f"{name} {why}, which is not taken", f"leave {name} out, or make a task of its own")
        notes = text_of(self.component.first("DESCRIPTION"))
        _limit("UID", uid, LONGEST_UID)
        _limit("SUMMARY", title, LONGEST_TITLE)
        _limit("DESCRIPTION", notes, LONGEST_NOTES)
        todo = CalendarTodo(uid, title or UNTITLED, notes, self.priority(), self.tags(), self.clock.zone)
        todo = self.with_dates(todo)
        todo = self.with_rule(todo)
        done_at, cancelled = self.closing()
        todo = replace(todo, alarms=self.alarms(todo), done_at=done_at, cancelled=cancelled)
        # What is closed repeats no more: its successor does.
        return todo if done_at is None else replace(todo, rrule="", repeat_from="due")

    def priority(self) -> int:
        """RFC 5545: 1 to 4 are high, 5 is medium, 6 to 9 are low, 0 is none; 1 is taken for urgent."""
        text = text_of(self.component.first("PRIORITY")) or "0"
        if text not in set("0123456789"):
            raise ItemRefused(f"PRIORITY is {text[:20]!r}", "it takes 0 to 9, of which 1 is the most pressing")
        return (0, 4, 3, 3, 3, 2, 1, 1, 1, 1)[int(text)]

    def tags(self) -> tuple[str, ...]:
        tags = [tag for line in self.component.all("CATEGORIES") for tag in texts_of(line) if tag]
        for tag in tags:
            _limit("an entry of CATEGORIES", tag, LONGEST_TAG)
        if len(tags) > MAX_TAGS:
            raise ItemRefused(f"CATEGORIES has {len(tags)} entries", f"it takes up to {MAX_TAGS}")
        return tuple(dict.fromkeys(tags))

    def with_dates(self, todo: CalendarTodo) -> CalendarTodo:
        self.require_one_end()
        starts, ends = self.component.first("DTSTART"), self.component.first("DUE")
        own = self.component.first("X-SWITCHYARD-START")
        begins = own or starts
        start = day_or_moment(begins, self.zones) if begins else None
        due = day_or_moment(ends, self.zones) if ends else self.due_by_duration()
        if due is not None and start is not None and due[1] is not None and start[1] is not None and due[2] != start[2]:
            # A task has one zone: that of its due date.
            moment = clocks.local(clocks.instant(datetime.combine(start[0], start[1]), start[2]), due[2])
            start = (moment.date(), moment.time(), due[2])
        if starts and ends and not own and self.component.first("RRULE") and start == due:
            start = None  # only there because a rule needs a DTSTART
        if start is not None and due is not None and _is_later(start, due):
            raise ItemRefused("it starts after it is due", "move DTSTART or DUE")
        timed = next((one for one in (due, start) if one is not None and one[1] is not None), None)
        todo = replace(todo, time_zone=timed[2] if timed else self.clock.zone)
        if start is not None:
            todo = replace(todo, start_date=start[0], start_time=start[1])
        return todo if due is None else replace(todo, due_date=due[0], due_time=due[1])

    def require_one_end(self) -> None:
        for name in ("DTSTART", "DUE", "DURATION"):
            if len(self.component.all(name)) > 1:
                raise ItemRefused(f"it has {len(self.component.all(name))} {name}s", "write one")
        if self.component.first("DUE") is not None and self.component.first("DURATION") is not None:
            raise ItemRefused("it has a DUE and a DURATION", "write one of them")

    def due_by_duration(self) -> tuple[date, time | None, str] | None:
        starts, line = self.component.first("DTSTART"), self.component.first("DURATION")
        if line is None:
            return None
        if starts is None:
            raise ItemRefused("it has a DURATION, and no DTSTART", "give it a DTSTART or a DUE")
        day, clock, zone = day_or_moment(starts, self.zones)
        try:
            duration = clocks.parse_duration(line.value.strip().upper())
        except clocks.BadDuration as exc:
            raise ItemRefused(f"DURATION: {exc}", "write it as a duration, or write a DUE") from None
        if clock is None:
            return day + timedelta(days=duration.days + duration.seconds // 86400), None, zone
        ends = clocks.local(clocks.shifted(datetime.combine(day, clock), zone, duration), zone)
        return ends.date(), ends.time(), zone

    def with_rule(self, todo: CalendarTodo) -> CalendarTodo:
        line = self.component.first("RRULE")
        if line is None:
            return todo
        if todo.due_date is None:
            raise ItemRefused("it repeats, and has no DUE", "give it a DUE, or leave RRULE out")
        if len(self.component.all("RRULE")) > 1:
            raise ItemRefused("it has two RRULEs", "write one")
        from_completion = text_of(self.component.first("X-SWITCHYARD-REPEAT-FROM")).upper() == "COMPLETION"
        try:
            rule = recurrence.parse(line.value, todo.due_time, todo.time_zone)
            if self.component.first("X-SWITCHYARD-START") is None and todo.start_date not in {None, todo.due_date}:
                assert todo.start_date is not None
                rule = recurrence.without_implied(rule, todo.start_date)
                if not recurrence.is_shiftable(rule):
                    raise RuleRefused("its days are those of DTSTART, which is another day than DUE")
            text = recurrence.check(str(rule), todo.due_date, from_completion=from_completion)
        except RuleRefused as exc:
            raise ItemRefused(f"RRULE: {exc}", "change the rule, or leave it out") from None
        return replace(todo, rrule=text, repeat_from="completion" if from_completion else "due")

    def alarms(self, todo: CalendarTodo) -> tuple[AlarmRule, ...]:
        children = [child for child in self.component.children if child.name == "VALARM"]
        if len(children) > MAX_ALARMS:
            raise ItemRefused(f"it has {len(children)} VALARMs", f"a task takes up to {MAX_ALARMS}")
        start = (todo.start_date, todo.start_time)
        found = [read_alarm(child, self.clock, self.zones, start, todo.due_date, todo.due_time) for child in children]
        return tuple(sorted({alarm for alarm in found if alarm is not None}, key=repr))

    def closing(self) -> tuple[datetime | None, bool]:
        """When it was closed, and whether it was given up."""
        status = text_of(self.component.first("STATUS")).upper()
        completed = self.component.first("COMPLETED")
        full = text_of(self.component.first("PERCENT-COMPLETE")) == "100"
        is_done = status in {"COMPLETED", "CANCELLED"} or (not status and (completed is not None or full))
        if not is_done:
            return None, False
        told = completed or self.component.first("LAST-MODIFIED")
        return min(utc_moment(told, self.zones) or self.now, self.now), status == "CANCELLED"


def _is_later(start: tuple[date, time | None, str], due: tuple[date, time | None, str]) -> bool:
    """By their days, where not both have a time."""
    if start[1] is None or due[1] is None:
        return start[0] > due[0]
    return datetime.combine(start[0], start[1]) > datetime.combine(due[0], due[1])


def _limit(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise ItemRefused(f"{name} has {len(text):,} characters", f"it takes up to {most:,}")
