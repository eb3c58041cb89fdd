"""From text to components: folded lines are joined, and each line that is none is told of and left out.

icalendar's own reading ends with the first error, and keeps no numbers of lines; so of it, only a line is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from icalendar.parser.content_line import Contentline

from jobs.operators.search import is_storable
from reminders.calendar.items import CalendarProblem, CalendarRefused

MAX_BYTES = 5_000_000
LONGEST_LINE = 100_000
MAX_DEPTH = 10
MAX_ITEMS = 2000
MOST_PROBLEMS = 500


@dataclass(frozen=True)
class Line:
    """One property. name: in upper case. params: names in upper case. value: as it stands, escapes and all."""

    number: int
    name: str
    params: dict[str, str]
    value: str


@dataclass
class Component:
    """begins: the number of its line. ended: whether its END came. children: the components inside of it."""

    name: str
    begins: int
    lines: list[Line] = field(default_factory=list)
    children: list["Component"] = field(default_factory=list)
    ended: bool = False

    def first(self, name: str) -> Line | None:
        return next((line for line in self.lines if line.name == name), None)

    def all(self, name: str) -> list[Line]:
        return [line for line in self.lines if line.name == name]


@dataclass
class Contents:
    """Of a file: its tasks in their order, its zones, how many other components it has, and what is wrong."""

    todos: list[Component] = field(default_factory=list)
    zones: list[Component] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    problems: list[CalendarProblem] = field(default_factory=list)

    def tell(self, line: int, what: str, remedy: str, *, imported: bool = True) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(CalendarProblem(line, what, remedy, imported=imported))


def decoded(data: bytes | str) -> str:
    """A file as text. Raises CalendarRefused for one that is too large."""
    size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "replace"))
    if size > MAX_BYTES:
        raise CalendarRefused(f"the calendar has {size:,} bytes; it takes up to {MAX_BYTES:,}: import it in parts")
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def read(data: bytes | str) -> Contents:
    """The components of a calendar. Raises CalendarRefused for what is none, is too large or has too many tasks."""
    text = decoded(data)
    contents = Contents()
    if "BEGIN:V" not in text.upper():
        start = " ".join(text[:60].split())
        raise CalendarRefused(f"{start!r} is no calendar: BEGIN:VCALENDAR is missing; export it as .ics (iCalendar)")
    _Reader(contents).read(text)
    return contents


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1. Only CR and LF end a line: other breaks are text of a value."""
    pieces: list[str] = []
    begins = 0
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line[:1] in (" ", "\t") and pieces:
            pieces.append(line[1:])
        elif line.strip():
            if pieces:
                yield begins, "".join(pieces)
            pieces, begins = [line], number
    if pieces:
        yield begins, "".join(pieces)


class _Reader:
    """Builds the tree. An END without its BEGIN is passed over; one that closes an outer component ends the inner."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.stack: list[Component] = []
        self.too_deep = 0

    def read(self, text: str) -> None:
        for number, raw in _unfolded(text):
            name = raw.partition(":")[0].strip().upper()
            if name in {"BEGIN", "END"}:
                kind = raw.partition(":")[2].strip().upper()[:40]
                self._begin(kind, number) if name == "BEGIN" else self._end(kind)
            elif self.stack and not self.too_deep:
                self._property(number, raw)
        for component in self.stack:
            if component.name == "VTODO":
                what = "the file ends within this task"
                self.contents.tell(component.begins, what, "export it again, as it was cut off", imported=False)

    def _begin(self, kind: str, number: int) -> None:
        if self.too_deep or len(self.stack) >= MAX_DEPTH:
            if not self.too_deep:
                what = f"components are nested more than {MAX_DEPTH} deep"
                self.contents.tell(number, what, "the inner ones were left out")
            self.too_deep += 1
            return
        component = Component(kind, number)
        parent = self.stack[-1] if self.stack else None
        self.stack.append(component)
        if kind == "VTODO":
            self.contents.todos.append(component)
            if len(self.contents.todos) > MAX_ITEMS:
                raise CalendarRefused(f"the calendar has more than {MAX_ITEMS:,} tasks; import it in parts")
        elif kind == "VTIMEZONE":
            self.contents.zones.append(component)
        elif kind == "VALARM":
            self._alarm(component, parent)
        elif parent is not None and parent.name == "VTIMEZONE":
            parent.children.append(component)
        elif kind != "VCALENDAR":
            self.contents.ignored[kind] = self.contents.ignored.get(kind, 0) + 1

    def _alarm(self, alarm: Component, parent: Component | None) -> None:
        if parent is not None and parent.name not in {"VCALENDAR", "VALARM"}:
            parent.children.append(alarm)
        elif self.contents.todos and not self.contents.ignored:
            self.contents.todos[-1].children.append(alarm)
            what = "its VALARM stands outside of the task"
            self.contents.tell(alarm.begins, what, "it was taken as the reminder of the task before it")
        else:
            self.contents.tell(alarm.begins, "a VALARM stands outside of any task", "put it into its VTODO")

    def _end(self, kind: str) -> None:
        if self.too_deep:
            self.too_deep -= 1
            return
        if not any(component.name == kind for component in self.stack):
            return
        while self.stack:
            component = self.stack.pop()
            component.ended = True
            if component.name == kind:
                return

    def _property(self, number: int, raw: str) -> None:
        component = self.stack[-1]
        if component.name == "VCALENDAR":
            return
        if len(raw) > LONGEST_LINE:
            what = f"line {number} has {len(raw):,} characters; a line takes up to {LONGEST_LINE:,}"
            self.contents.tell(component.begins, what, "it was left out")
        elif not is_storable(raw):
            what = f"line {number} has characters that cannot be stored, such as NUL"
            self.contents.tell(component.begins, what, "it was left out")
        else:
            try:
                component.lines.append(_line(number, raw))
            except ValueError:
                what = f"line {number} is no property: {raw[:40]!r}"
                self.contents.tell(component.begins, what, "it was left out")


def _line(number: int, raw: str) -> Line:
    """Raises ValueError."""
    if ":" not in raw:
        raise ValueError(raw)
    name, _, rest = raw.partition(":")
    if ";" not in name:
        if not name.strip().replace("-", "").isalnum():
            raise ValueError(raw)
        return Line(number, name.strip().upper(), {}, rest)
    name, params, value = Contentline(raw).raw_parts()
    read = {str(key).upper(): ",".join(text) if isinstance(text, list) else str(text) for key, text in params.items()}
    return Line(number, name.upper(), read, value)
