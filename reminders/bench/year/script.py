"""Makes up a year of people and their deeds, and tells the model of each. The same seed gives the same year."""

import random
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from reminders.bench.year import naive
from reminders.bench.year.model import Model, Person, Rule, Task

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
#: Forty zones: of halves and quarters of an hour, on both sides of the equator and of the date line.
ZONES = (
    "Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "Africa/Lagos", "America/Anchorage",
    "America/Argentina/Buenos_Aires", "America/Bogota", "America/Caracas", "America/Chicago", "America/Denver",
    "America/Halifax", "America/Havana", "America/Los_Angeles", "America/Mexico_City", "America/New_York",
    "America/Santiago", "America/Sao_Paulo", "America/St_Johns", "Asia/Beirut", "Asia/Dhaka",
    "Asia/Dubai", "Asia/Jerusalem", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Shanghai",
    "Asia/Tehran", "Asia/Tokyo", "Asia/Yangon", "Atlantic/Azores", "Australia/Adelaide",
    "Australia/Lord_Howe", "Australia/Sydney", "Europe/Berlin", "Europe/Lisbon", "Europe/London",
    "Europe/Moscow", "Pacific/Auckland", "Pacific/Chatham", "Pacific/Kiritimati", "UTC",
)  # fmt: skip
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
#: What fires so soon may be sent along with a digest already: such a task or person is left alone until then.
ALONE = timedelta(minutes=11)
KINDS = {"create": 50, "complete": 30, "change": 9, "snooze": 7, "pause": 2, "move": 2}


@dataclass
class Script:
    """deeds: as the driver does them, in their order. model: what was expected, when all of the year has passed."""

    people: list[Person]
    end: datetime
    deeds: list[dict[str, Any]] = field(default_factory=list)
    model: Model = field(default_factory=lambda: Model([]))

    def as_json(self) -> dict[str, Any]:
        return {"people": [asdict(one) for one in self.people], "deeds": self.deeds, "end": self.end.isoformat()}


def write(seed: int, people: int, days: int, tasks_each: float) -> Script:
    """tasks_each: how many tasks a person makes a year, on average."""
    chance = random.Random(seed)  # noqa: S311  (nothing depends on its being hard to guess)
    everyone = [_person(chance, number) for number in range(people)]
    end = BEGIN + timedelta(days=days)
    script = Script(everyone, end, model=Model([Person(**vars(one)) for one in everyone]))
    count = int(people * tasks_each * days / 365 * 100 / KINDS["create"])
    # Nothing is due at half a minute: no deed meets a scan by chance. That is what the tests of races are for.
    minutes = sorted(chance.sample(range(60, (days - 1) * 1440), count))
    for minute in minutes:
        now = BEGIN + timedelta(minutes=minute, seconds=30)
        script.model.pass_until(now)
        deed = _Deeds(chance, script.model, now).any()
        if deed is not None:
            script.deeds.append({"at": now.isoformat(), **deed})
    script.model.pass_until(end)
    return script


def _person(chance: random.Random, number: int) -> Person:
    quiet = (time(chance.choice((21, 22, 23))), time(chance.choice((6, 7, 8)))) if chance.random() < 0.4 else None
    offsets = tuple(chance.sample((10, 30, 60), chance.choice((1, 2)))) if chance.random() < 0.3 else ()
    anchor = chance.choice((time(9), time(9), time(7, 30), time(17)))
    return Person(number, ZONES[number % len(ZONES)], anchor, quiet, offsets, chance.choice((4, 4, 2, 0)))


class _Deeds:
    """One deed at an instant; None where it would touch what fires too soon, or there is nothing to do it to."""

    def __init__(self, chance: random.Random, model: Model, now: datetime) -> None:
        self.chance, self.model, self.now = chance, model, now

    def any(self) -> dict[str, Any] | None:
        kind = self.chance.choices(list(KINDS), list(KINDS.values()))[0]
        made: dict[str, Any] | None = getattr(self, f"_{kind}")()
        return made and {"deed": kind, **made}

    def _open(self) -> Task | None:
        chosen = [task for task in self.model.tasks.values() if task.open]
        return self.chance.choice(chosen) if chosen else None

    def _is_near(self, key: tuple[int, int] | None, person: int | None = None) -> bool:
        return any(at < self.now + ALONE for at in self.model.next_of(key, person))

    def _create(self) -> dict[str, Any]:
        chance, people = self.chance, self.model.people
        creator = chance.choice(list(people.values()))
        others = chance.sample(list(people), min(4, len(people)))
        zone = creator.zone if chance.random() < 0.8 else chance.choice(ZONES)
        due = naive.reading(self.now, zone).date() + timedelta(days=chance.randint(1, 20))
        clock = None if chance.random() < 0.35 else time(chance.randrange(24), chance.randrange(0, 60, 5))
        task = Task(
            key=(len(self.model.tasks) + 1, 0),
            creator=creator.number,
            zone=zone,
            due_date=due,
            due_time=clock,
            start=(due - timedelta(days=1), time(8)) if chance.random() < 0.3 else None,
            assignees=tuple(others[: chance.choice((0, 0, 1, 2))]),
            watchers=tuple(others[2 : 2 + chance.choice((0, 0, 1, 2))]),
            urgent=chance.random() < 0.15,
            ladder=chance.random() < 0.7,
        )
        task.rules = [self._rule(task) for _ in range(chance.choice((0, 0, 1, 2)))]
        if chance.random() < 0.15:
            days = tuple(sorted({due.weekday(), chance.randrange(7)}))
            task.repeats = chance.choice([("daily", chance.randint(1, 9), ()), ("weekly", chance.randint(1, 3), days)])
        self.model.create(task, self.now)
        return {"task": _of_task(task)}

    def _rule(self, task: Task) -> Rule:
        chance = self.chance
        who = chance.choice(("assignees", "watchers", "everyone"))
        if chance.random() < 0.2:
            day = task.due_date - timedelta(days=chance.randint(0, 3))
            return Rule(who, at=(day, time(chance.randrange(24), 20), chance.choice(ZONES)))
        days, minutes = chance.choice(((-1, 0), (-2, 0), (0, -15), (0, -1440), (0, 0), (0, -90), (1, 0), (0, 45)))
        return Rule(who, "start" if task.start and chance.random() < 0.4 else "due", days, minutes)

    def _complete(self) -> dict[str, Any] | None:
        task = self._open()
        if task is None or self._is_near(task.key):
            return None
        self.model.complete(task.key, self.now)
        return {"key": task.key}

    def _change(self) -> dict[str, Any] | None:
        task = self._open()
        if task is None or task.repeats is not None or self._is_near(task.key):
            return None
        today = naive.reading(self.now, task.zone).date()
        due = today + timedelta(days=self.chance.randint(1, 12))
        clock = None if self.chance.random() < 0.3 else time(self.chance.randrange(24), 35)
        if (due, clock) == (task.due_date, task.due_time):
            return None
        self.model.change_date(task.key, due, clock, self.now)
        return {"key": task.key, "due_date": due.isoformat(), "due_time": clock and clock.isoformat()}

    def _snooze(self) -> dict[str, Any] | None:
        task = self._open()
        if task is None or self._is_near(task.key):
            return None
        person = self.chance.choice([task.creator, *task.assignees, *task.watchers])
        until = self.now.replace(second=0) + timedelta(minutes=self.chance.choice((30, 60, 180, 1440)))
        self.model.snooze(task.key, person, until)
        return {"key": task.key, "person": person, "until": until.isoformat()}

    def _pause(self) -> dict[str, Any] | None:
        person = self.chance.choice(list(self.model.people))
        if self._is_near(None, person):
            return None
        until = self.now.replace(second=0) + timedelta(hours=self.chance.randint(1, 72))
        self.model.pause(person, until, self.now)
        return {"person": person, "until": until.isoformat()}

    def _move(self) -> dict[str, Any] | None:
        person, zone = self.chance.choice(list(self.model.people)), self.chance.choice(ZONES)
        if self._is_near(None, person):
            return None
        self.model.move(person, zone, self.now)
        return {"person": person, "zone": zone}


def _of_task(task: Task) -> dict[str, Any]:
    return {
        "number": task.key[0],
        "creator": task.creator,
        "zone": task.zone,
        "due_date": task.due_date.isoformat(),
        "due_time": task.due_time and task.due_time.isoformat(),
        "start": task.start and [task.start[0].isoformat(), task.start[1].isoformat()],
        "assignees": task.assignees,
        "watchers": task.watchers,
        "urgent": task.urgent,
        "ladder": task.ladder,
        "rrule": _rrule(task.repeats),
        "rules": [_of_rule(rule) for rule in task.rules],
    }


def _rrule(repeats: tuple[str, int, tuple[int, ...]] | None) -> str:
    if repeats is None:
        return ""
    kind, interval, days = repeats
    text = f"FREQ={kind.upper()};INTERVAL={interval}"
    return f"{text};BYDAY={','.join(DAYS[day] for day in days)}" if days else text


def _of_rule(rule: Rule) -> dict[str, Any]:
    if rule.at is not None:
        day, clock, zone = rule.at
        return {"who": rule.who, "at": [day.isoformat(), clock.isoformat(), zone]}
    sign = "-" if rule.days < 0 or rule.minutes < 0 else ""
    offset = f"P{abs(rule.days)}D" if rule.days else f"PT{abs(rule.minutes)}M"
    return {"who": rule.who, "anchor": rule.anchor, "offset": sign + offset}
