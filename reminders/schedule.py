"""When the rules of a task fire, and for whom: arithmetic alone, nothing is read or stored here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time

from reminders import clocks
from reminders.clocks import Duration
from reminders.models import Anchor, Audience, ReminderRule, Todo

#: After the last step nobody is reminded of an overdue task any more.
OVERDUE_STEPS = (
    (Duration(), Audience.ASSIGNEES),
    (Duration(days=1), Audience.ASSIGNEES),
    (Duration(days=3), Audience.WATCHERS),
)


@dataclass(frozen=True)
class Person:
    """What of somebody's preferences decides when they are reminded. defaults: their default rules."""

    id: int
    time_zone: str = "UTC"
    anchor_time: time = time(9)
    defaults: tuple[ReminderRule, ...] = ()


@dataclass(frozen=True)
class Moment:
    """One time at which one person is to be reminded. kind: as `PlannedReminder.kind`."""

    kind: str
    recipient: int
    fire_at: datetime
    rule: int | None = None


@dataclass
class Schedule:
    """moments: at most one a kind and person, none twice at one time. failed: rules that could not be worked out."""

    moments: list[Moment] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)


def recipients(audience: str, assignees: Sequence[int], watchers: Sequence[int], creator: int | None) -> list[int]:
    """The people of an audience, each once; where no one is assigned, the creator stands in."""
    responsible = list(assignees) or ([creator] if creator is not None else [])
    chosen = {
        Audience.ASSIGNEES: responsible,
        Audience.WATCHERS: list(watchers),
        Audience.EVERYONE: [*responsible, *watchers],
    }[Audience(audience)]
    return list(dict.fromkeys(chosen))


def schedule(
    todo: Todo,
    rules: Iterable[ReminderRule],
    people: Mapping[int, Person],
    assignees: Sequence[int],
    watchers: Sequence[int],
) -> Schedule:
    """All moments of an open task, past ones too. rules: the task's own, without those that are set aside.

    people: whoever may be a recipient; who is not among them (an account that was deleted) gets nothing.
    """
    found = Schedule()
    own = list(rules)
    covered: set[int] = set()
    for rule in own:
        to = [rule.person_id] if rule.person_id else _people(rule.audience, todo, assignees, watchers)
        covered.update(to)
        _add(found, todo, rule, [people[one] for one in to if one in people])
    for one in _people(Audience.ASSIGNEES, todo, assignees, watchers):
        if one in people and one not in covered:
            for rule in people[one].defaults:
                _add(found, todo, rule, [people[one]])
    if todo.overdue_reminders:
        for step, (after, audience) in enumerate(OVERDUE_STEPS):
            for one in _people(audience, todo, assignees, watchers):
                if one in people:
                    found.moments += _relative(f"overdue:{step}", todo, Anchor.DUE, after, people[one], None)
    found.moments = list(_without_echoes(found.moments))
    return found


def _people(audience: str, todo: Todo, assignees: Sequence[int], watchers: Sequence[int]) -> list[int]:
    return recipients(audience, assignees, watchers, todo.creator_id)


def _add(found: Schedule, todo: Todo, rule: ReminderRule, people: Iterable[Person]) -> None:
    """A rule that cannot be worked out is told of, and stops no other."""
    try:
        moments = [moment for one in people for moment in _of_rule(todo, rule, one)]
    except (ValueError, OverflowError, LookupError, OSError) as exc:
        found.failed[rule.pk] = f"{type(exc).__name__}: {exc}"[:500]
    else:
        found.moments += moments


def _of_rule(todo: Todo, rule: ReminderRule, person: Person) -> list[Moment]:
    kind = f"rule:{rule.pk}"
    if rule.at_date is not None and rule.at_time is not None:
        at = clocks.instant(datetime.combine(rule.at_date, rule.at_time), rule.time_zone)
        return [Moment(kind, person.id, at, rule.pk)]
    return _relative(kind, todo, rule.anchor, clocks.parse_duration(rule.offset), person, rule.pk)


def _relative(kind: str, todo: Todo, anchor: str, after: Duration, person: Person, rule: int | None) -> list[Moment]:
    day: date | None = todo.due_date if anchor == Anchor.DUE else todo.start_date
    clock: time | None = todo.due_time if anchor == Anchor.DUE else todo.start_time
    if day is None:
        return []
    # A date without a time is a day of each person's own clock.
    zone = person.time_zone if clock is None else clocks.usable_zone(todo.time_zone)
    start = datetime.combine(day, person.anchor_time if clock is None else clock)
    return [Moment(kind, person.id, clocks.shifted(start, zone, after), rule)]


def _without_echoes(moments: Iterable[Moment]) -> Iterator[Moment]:
    """One reminder a person and instant; the first stays, and rules come before the steps of an overdue task."""
    seen: set[tuple[int, datetime]] = set()
    for moment in moments:
        if (moment.recipient, moment.fire_at) not in seen:
            seen.add((moment.recipient, moment.fire_at))
            yield moment
