"""What is to be sent, to whom and when: worked out by other means than the system's, from the same deeds.

It knows nothing of the system's tables, services or clocks. A reminder of the model is of one task, one person and one
instant; how several are put into one message is not its matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from reminders.bench.year import naive

#: (days, minutes, who) after a task is due.
LADDER = ((0, 0, "assignees"), (1, 0, "assignees"), (3, 0, "watchers"))


@dataclass
class Person:
    """quiet: from and until. offsets: of default rules, in minutes before what is due."""

    number: int
    zone: str
    anchor: time
    quiet: tuple[time, time] | None = None
    offsets: tuple[int, ...] = ()
    digest_from: int = 4
    paused_until: datetime | None = None


@dataclass
class Rule:
    """Relative: days and minutes from an anchor, "due" or "start". Absolute: a local time. who: as in the ladder."""

    who: str = "assignees"
    anchor: str = "due"
    days: int = 0
    minutes: int = 0
    at: tuple[date, time, str] | None = None


@dataclass
class Task:
    """key: its number and, of one that repeats, how many went before. repeats: as `naive.next_due` takes it."""

    key: tuple[int, int]
    creator: int
    zone: str
    due_date: date
    due_time: time | None
    start: tuple[date, time] | None = None
    assignees: tuple[int, ...] = ()
    watchers: tuple[int, ...] = ()
    rules: list[Rule] = field(default_factory=list)
    urgent: bool = False
    ladder: bool = True
    repeats: tuple[str, int, tuple[int, ...]] | None = None
    open: bool = True
    snoozes: int = 0


class Sent(NamedTuple):
    """One reminder that must be sent. at: when it was to fire. held_until: when it is sent, if something holds it."""

    key: tuple[int, int]
    person: int
    at: datetime
    sent: datetime


Slot = tuple[tuple[int, int], str, int]


class Model:
    """Told of each deed at its time; `sent` is what came of them."""

    def __init__(self, people: list[Person]) -> None:
        self.people = {person.number: person for person in people}
        self.tasks: dict[tuple[int, int], Task] = {}
        self.pending: dict[Slot, datetime] = {}
        self.fired: set[Slot] = set()
        self.held: dict[Slot, tuple[datetime, datetime]] = {}
        self.put_off: dict[tuple[tuple[int, int], int], datetime] = {}
        self.sent: list[Sent] = []

    # --- Time ---

    def pass_until(self, now: datetime) -> None:
        """Send all that is to be sent before this instant or at it."""
        while True:
            times = [at for at in self.pending.values() if at <= now]
            times += [until for _, until in self.held.values() if until <= now]
            if not times:
                return
            self._minute(min(times))

    def _minute(self, now: datetime) -> None:
        told: set[tuple[tuple[int, int], int, datetime]] = set()
        for slot, (at, until) in list(self.held.items()):
            if until <= now:
                del self.held[slot]
                self._tell(slot, at, now)
        for slot, at in sorted(self.pending.items()):
            if at <= now:
                del self.pending[slot]
                self.fired.add(slot)
                # Two rules that meet in one instant are one reminder.
                if (slot[0], slot[2], at) not in told:
                    told.add((slot[0], slot[2], at))
                    self._tell(slot, at, now)

    def _tell(self, slot: Slot, at: datetime, now: datetime) -> None:
        person, task = self.people[slot[2]], self.tasks[slot[0]]
        if person.paused_until is not None and person.paused_until > now:
            self.held[slot] = (at, person.paused_until)
            return
        if person.quiet is not None and not task.urgent:
            until = naive.quiet_ends(now, person.zone, *person.quiet)
            if until > now:
                self.held[slot] = (at, until)
                return
        self.sent.append(Sent(task.key, person.number, at, now))

    # --- Deeds ---

    def create(self, task: Task, now: datetime) -> None:
        self.tasks[task.key] = task
        self._plan(task, now)

    def change_date(self, key: tuple[int, int], due: date, clock: time | None, now: datetime) -> None:
        task = self.tasks[key]
        task.due_date, task.due_time = due, clock
        self._forget(key)
        self.fired = {slot for slot in self.fired if slot[0] != key}
        self._plan(task, now)

    def complete(self, key: tuple[int, int], now: datetime) -> tuple[int, int] | None:
        """Returns the key of the next one, if the task repeats."""
        task = self.tasks[key]
        task.open = False
        self._forget(key)
        if task.repeats is None:
            return None
        due, place = naive.next_due(task.repeats, task.due_date), key[1] + 1
        while self._is_over(task, due, now):
            due, place = naive.next_due(task.repeats, due), place + 1
        following = Task(
            key=(key[0], place), creator=task.creator, zone=task.zone, due_date=due, due_time=task.due_time,
            assignees=task.assignees, watchers=task.watchers, rules=[rule for rule in task.rules if rule.at is None],
            urgent=task.urgent, ladder=task.ladder, repeats=task.repeats,
        )  # fmt: skip
        if task.start is not None:
            following.start = (task.start[0] + (due - task.due_date), task.start[1])
        self.create(following, now)
        return following.key

    def _is_over(self, task: Task, day: date, now: datetime) -> bool:
        """Whether nobody can do in time any more what is due on a day."""
        if task.due_time is None:
            return naive.when(day, time(0), task.zone, days=1) <= now
        return naive.when(day, task.due_time, task.zone) <= now

    def snooze(self, key: tuple[int, int], person: int, until: datetime) -> None:
        task = self.tasks[key]
        theirs = [slot for slot in (*self.pending, *self.held) if slot[0] == key and slot[2] == person]
        for slot in theirs:
            self.held.pop(slot, None)
            if slot in self.pending and (self.pending[slot] <= until or slot[1].startswith("snooze")):
                del self.pending[slot]
        task.snoozes += 1
        self.put_off[key, person] = until
        self.pending[(key, f"snooze {task.snoozes}", person)] = until

    def pause(self, person: int, until: datetime, now: datetime) -> None:
        self.people[person].paused_until = until
        self._let_go(person, now)

    def _let_go(self, person: int, now: datetime) -> None:
        """By the next whole minute, what is held for somebody is sent, unless something holds it then."""
        minute = now.replace(second=0, microsecond=0)
        minute += timedelta(minutes=minute < now)
        self.held.update({slot: (at, minute) for slot, (at, _) in self.held.items() if slot[2] == person})

    def move(self, person: int, zone: str, now: datetime) -> None:
        """Somebody's clock changes: what was not sent yet is counted by the new one."""
        self.people[person].zone = zone
        self._let_go(person, now)
        for task in self.tasks.values():
            if task.open and person in {task.creator, *task.assignees, *task.watchers}:
                self._plan(task, now)

    def next_of(self, key: tuple[int, int] | None, person: int | None) -> list[datetime]:
        """When something pending of a task, or of a person, fires."""
        return [at for slot, at in self.pending.items() if slot[0] == key or slot[2] == person]

    # --- Rules ---

    def _forget(self, key: tuple[int, int]) -> None:
        self.pending = {slot: at for slot, at in self.pending.items() if slot[0] != key}
        self.held = {slot: held for slot, held in self.held.items() if slot[0] != key}
        self.put_off = {which: until for which, until in self.put_off.items() if which[0] != key}

    def _plan(self, task: Task, now: datetime) -> None:
        for slot in [slot for slot in self.pending if slot[0] == task.key and not slot[1].startswith("snooze")]:
            del self.pending[slot]
        for kind, person, at in self._moments(task):
            slot = (task.key, kind, person)
            if at > now and slot not in self.fired and at > self.put_off.get((task.key, person), now):
                self.pending[slot] = at

    def _moments(self, task: Task) -> Iterator[tuple[str, int, datetime]]:
        addressed: set[int] = set()
        for number, rule in enumerate(task.rules):
            for person in self._who(task, rule.who):
                addressed.add(person)
                if rule.at is not None:
                    yield f"rule {number}", person, naive.when(*rule.at)
                elif rule.anchor == "due":
                    yield f"rule {number}", person, self._after(task, person, rule.days, rule.minutes)
                elif task.start is not None:
                    yield f"rule {number}", person, naive.when(*task.start, task.zone, rule.days, rule.minutes)
        for person in self._who(task, "assignees"):
            if person not in addressed:
                for minutes in self.people[person].offsets:
                    yield f"default {minutes}", person, self._after(task, person, 0, -minutes)
        if task.ladder:
            for step, (days, minutes, who) in enumerate(LADDER):
                for person in self._who(task, who):
                    yield f"overdue {step}", person, self._after(task, person, days, minutes)

    def _who(self, task: Task, who: str) -> list[int]:
        responsible = list(task.assignees or (task.creator,))
        chosen = {"assignees": responsible, "watchers": task.watchers, "everyone": [*responsible, *task.watchers]}[who]
        return list(dict.fromkeys(chosen))

    def _after(self, task: Task, person: int, days: int, minutes: int) -> datetime:
        """From when it is due; without a time, from the anchor of the person's own clock."""
        who = self.people[person]
        clock, zone = (who.anchor, who.zone) if task.due_time is None else (task.due_time, task.zone)
        return naive.when(task.due_date, clock, zone, days, minutes)
