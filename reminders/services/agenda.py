"""A person's own tasks as they look at them: overdue, today, upcoming, without a date; and those that are done."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from django.db.models import Count, Q, QuerySet, prefetch_related_objects

from jobs.operators.search import is_storable
from reminders import clocks, moment
from reminders.models import Project, Todo
from reminders.services import parts

#: Of each section on the page that has all of them; a section by itself has pages.
A_SECTION = 25
A_PAGE = 50
LAST_PAGE = 10_000
MOST_TAGS = 100
SECTIONS = {
    "overdue": "Overdue",
    "today": "Today",
    "upcoming": "Upcoming",
    "undated": "Without a date",
}
#: Whose tasks; the first is what counts unless another one is chosen.
WHOSE = {
    "mine": "For me to do",
    "given": "Made by me, for others",
    "watched": "Watched by me",
    "all": "All that I have a part in",
}


@dataclass(frozen=True)
class Wanted:
    """What a list is narrowed to. project: its id. tag, text: empty for any."""

    whose: str = "mine"
    project: int | None = None
    tag: str = ""
    text: str = ""

    @property
    def is_narrowed(self) -> bool:
        return self != Wanted()


@dataclass
class Section:
    """count: of all of them. todos: those on this page."""

    name: str
    count: int
    todos: list[Todo] = field(default_factory=list)

    @property
    def title(self) -> str:
        return SECTIONS[self.name]

    @property
    def is_today(self) -> bool:
        return self.name == "today"

    @property
    def more(self) -> int:
        return self.count - len(self.todos)


@dataclass(frozen=True)
class Page:
    """One page of a longer list. number: from 1."""

    todos: list[Todo]
    count: int
    number: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.count // A_PAGE))


def counts(user: Any, zone: str, wanted: Wanted) -> list[Section]:
    """How many there are in each section, without them. In one statement."""
    rows = narrowed(user, wanted).filter(done_at=None)
    conditions = _conditions(zone)
    found = rows.aggregate(**{name: Count("pk", filter=condition) for name, condition in conditions.items()})
    return [Section(name, found[name]) for name in SECTIONS]


def open_sections(user: Any, zone: str, wanted: Wanted) -> list[Section]:
    """The beginning of each section, with its count. In six statements."""
    rows = narrowed(user, wanted).filter(done_at=None)
    conditions = _conditions(zone)
    found = counts(user, zone, wanted)
    for section in found:
        if section.count:
            section.todos = list(_in_order(rows.filter(conditions[section.name]))[:A_SECTION])
    _with_people(todo for section in found for todo in section.todos)
    return found


def open_page(user: Any, zone: str, wanted: Wanted, section: str, number: int) -> Page:
    """A page of one section."""
    rows = narrowed(user, wanted).filter(_conditions(zone)[section], done_at=None)
    return _page(_in_order(rows), number)


def done_page(user: Any, wanted: Wanted, number: int) -> Page:
    """A page of those that are done or given up, the latest first."""
    rows = narrowed(user, wanted).filter(done_at__isnull=False)
    return _page(rows.order_by("-done_at", "-id").select_related("project", "done_by"), number)


def _page(rows: "QuerySet[Todo]", number: int) -> Page:
    count = rows.count()
    number = min(max(1, number), max(1, -(-count // A_PAGE)), LAST_PAGE)
    todos = list(rows[(number - 1) * A_PAGE : number * A_PAGE])
    _with_people(todos)
    return Page(todos, count, number)


def by_day(todos: Iterable[Todo], zone: str) -> dict[date, list[Todo]]:
    """Tasks with a due date, by the day that it is on somebody's clock."""
    days: dict[date, list[Todo]] = {}
    for todo in todos:
        days.setdefault(day_of(todo, zone), []).append(todo)
    return dict(sorted(days.items()))


def day_of(todo: Todo, zone: str) -> date:
    """Of a task with a due date. One without a time is due on that day of everybody's clock."""
    assert todo.due_date is not None
    if todo.due_time is None:
        return todo.due_date
    assert todo.due_at is not None
    return clocks.local(todo.due_at, zone).date()


def narrowed(user: Any, wanted: Wanted) -> "QuerySet[Todo]":
    """A person's tasks, open and done, in no order."""
    rows = Todo.objects.defer("search", "notes").filter(pk__in=_ids(user.pk, wanted.whose))
    if wanted.project is not None:
        rows = rows.filter(project=wanted.project)
    if wanted.tag:
        rows = rows.filter(tags__contains=[wanted.tag]) if is_storable(wanted.tag) else rows.none()
    if wanted.text:
        # Parts of words, too: one person's tasks are few enough to look at each.
        found = Q(title__icontains=wanted.text) | Q(notes__icontains=wanted.text)
        rows = rows.filter(found) if is_storable(wanted.text) else rows.none()
    return rows


def projects_of(user: Any) -> "QuerySet[Project]":
    return Project.objects.filter(members=user, archived_at=None).order_by("name", "id")


def tags_of(user: Any) -> list[str]:
    """Of their open tasks, the most used ones."""
    rows = Todo.objects.filter(pk__in=_ids(user.pk, "mine"), done_at=None).exclude(tags=[]).order_by("-id")
    found: dict[str, int] = {}
    for tags in rows.values_list("tags", flat=True)[:1000]:
        for tag in tags:
            found[tag] = found.get(tag, 0) + 1
    return sorted(sorted(found, key=lambda tag: -found[tag])[:MOST_TAGS], key=str.casefold)


def _ids(user_id: int, whose: str) -> "QuerySet[Any, Any]":
    """As a union, each part of which has an index."""
    assigned = Todo.assignees.through.objects.filter(user_id=user_id).values("todo_id")
    watched = Todo.watchers.through.objects.filter(user_id=user_id).values("todo_id")
    created = Todo.objects.filter(creator=user_id)
    if whose == "given":
        return created.filter(assignees__isnull=False).exclude(assignees=user_id).values("pk")
    if whose == "watched":
        return watched
    if whose == "all":
        return parts.todos_of(user_id)
    # What nobody is assigned to is for its creator to do, who is reminded of it, too.
    return assigned.union(created.filter(assignees=None).values("pk"), all=True)


def _conditions(zone: str) -> dict[str, Q]:
    now = moment.now()
    today = clocks.local(now, zone).date()
    ends = clocks.end_of_day(today, zone)
    timed, whole = Q(due_time__isnull=False), Q(due_time=None, due_date__isnull=False)
    return {
        "overdue": timed & Q(due_at__lte=now) | whole & Q(due_date__lt=today),
        "today": timed & Q(due_at__gt=now, due_at__lt=ends) | whole & Q(due_date=today),
        "upcoming": timed & Q(due_at__gt=now, due_at__gte=ends) | whole & Q(due_date__gt=today),
        "undated": Q(due_date=None),
    }


def _in_order(rows: "QuerySet[Todo]") -> "QuerySet[Todo]":
    return rows.order_by("due_at", "-priority", "id").select_related("project", "creator")


def _with_people(todos: Iterable[Todo]) -> None:
    prefetch_related_objects(list(todos), "assignees")


def is_overdue(todo: Todo, zone: str, now: datetime) -> bool:
    if not todo.is_open or todo.due_date is None or todo.due_at is None:
        return False
    if todo.due_time is None:
        return todo.due_date < clocks.local(now, zone).date()
    return todo.due_at <= now
