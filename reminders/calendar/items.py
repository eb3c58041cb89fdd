"""A task as a calendar tells it, and what could not be read of one."""

from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from typing import Any


class CalendarRefused(ValueError):
    """The whole file is none that can be read; the message says why, and what to do."""


@dataclass(frozen=True)
class PersonClock:
    """Whose calendar it is: floating times are of this zone, and days without a time are reminded of at the anchor."""

    zone: str = "UTC"
    anchor: time = time(9)


@dataclass(frozen=True, order=True)
class AlarmRule:
    """A reminder: `anchor` (start, due) and `offset`, as `ReminderRule` has them, or a local time and its zone."""

    anchor: str = ""
    offset: str = ""
    at: datetime | None = None
    zone: str = ""


@dataclass(frozen=True)
class CalendarTodo:
    """What of a task is in calendars. alarms: sorted, each once. done_at: in UTC; None for an open task."""

    uid: str
    title: str
    notes: str = ""
    priority: int = 0
    tags: tuple[str, ...] = ()
    time_zone: str = "UTC"
    start_date: date | None = None
    start_time: time | None = None
    due_date: date | None = None
    due_time: time | None = None
    rrule: str = ""
    repeat_from: str = "due"
    done_at: datetime | None = None
    cancelled: bool = False
    alarms: tuple[AlarmRule, ...] = ()


@dataclass(frozen=True)
class CalendarProblem:
    """What is wrong with one task, and what to do.

    line: where it begins. imported: whether the rest of it was taken.
    """

    line: int
    what: str
    remedy: str
    uid: str = ""
    summary: str = ""
    imported: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class ItemRefused(Exception):
    """One task cannot be taken."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy
