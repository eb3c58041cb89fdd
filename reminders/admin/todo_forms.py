"""The forms of tasks and of their rules."""

from typing import Any

from jobs.operators.settings import SettingsRefused
from reminders.admin.common import Entry, TextForm
from reminders.models import ReminderRule, Todo
from reminders.operators.times import clock_text
from reminders.operators.todo_values import PRIORITY_WORDS

_WHAT = {
    "title": Entry("Title"),
    "notes": Entry("Notes", "", "long"),
    "priority": Entry("Priority", "Reminders of urgent tasks may pass quiet hours.", [(w, w) for w in PRIORITY_WORDS]),
    "tags": Entry("Tags", "Separated by commas.", "names"),
    "project": Entry("Project", "A project's name; its members see the task."),
}
_PEOPLE = {
    "assignees": Entry(
        "Assignees", "Account names, separated by commas. Without any, its creator is reminded.", "names"
    ),
    "watchers": Entry("Watchers", "Account names, separated by commas.", "names"),
}
_CREATOR = {"creator": Entry("Creator", "An account's name; yours if left empty.")}
_WHEN = {
    "due_date": Entry("Due on", "A day, such as 2027-01-31."),
    "due_time": Entry("Due at", "A time, such as 09:00; without one it is due on that day."),
    "start_date": Entry("Starts on"),
    "start_time": Entry("Starts at"),
    "time_zone": Entry("Time zone", "Of these times, such as Europe/Berlin."),
    "rrule": Entry(
        "Repeats",
        "A rule such as FREQ=WEEKLY;BYDAY=MO; empty: once. Another one begins a new series at the due date; "
        "another due date moves this one task alone.",
    ),
    "repeat_from": Entry(
        "Counted from", "Of a task that repeats.", [("due", "the due date"), ("completion", "the day it is done")]
    ),
    "overdue_reminders": Entry(
        "Overdue reminders", "When it is due, a day later, and to watchers after three.", "switch"
    ),
}


class TodoForm(TextForm):
    """One task; `None` for a new one."""

    def __init__(self, todo: Todo | None, zone: str, data: Any) -> None:
        people = _PEOPLE if todo is not None else {**_CREATOR, **_PEOPLE}
        stored = (
            _stored(todo) if todo is not None else {"time_zone": zone, "priority": "none", "overdue_reminders": True}
        )
        super().__init__({"What": _WHAT, "People": people, "When": _WHEN}, stored, data)


def _stored(todo: Todo) -> dict[str, Any]:
    plain = {name: getattr(todo, name) for name in (*_WHAT, *_WHEN)}
    return {
        **plain,
        "priority": PRIORITY_WORDS[todo.priority],
        "due_time": clock_text(todo.due_time) if todo.due_time else "",
        "start_time": clock_text(todo.start_time) if todo.start_time else "",
        "assignees": sorted(user.get_username() for user in todo.assignees.all()),
        "watchers": sorted(user.get_username() for user in todo.watchers.all()),
    }


RULE_WHEN = {
    "offset": Entry("How long before or after", "Such as -PT15M, -P1D or PT0S; days are days of the clock."),
    "anchor": Entry("Counted from", "", [("due", "when it is due"), ("start", "when it starts")]),
}
_AT = {
    "at": Entry("Or at a time", "Such as 2027-01-30T18:00, in place of the above."),
    "time_zone": Entry("Time zone", "Of that time, such as Europe/Berlin; yours if left empty."),
}
_WHOM = {
    "audience": Entry(
        *("Whom", ""), [("assignees", "whoever does it"), ("watchers", "its watchers"), ("everyone", "everybody on it")]
    ),
    "person": Entry("Or one account", "Its name."),
}


class RuleForm(TextForm):
    """One rule of a task; `None` for a new one."""

    def __init__(self, rule: ReminderRule | None, data: Any) -> None:
        stored = {"anchor": "due", "audience": "assignees"} if rule is None else _stored_rule(rule)
        super().__init__({"When": RULE_WHEN, "At a time": _AT, "People": _WHOM}, stored, data)

    def given(self) -> dict[str, Any]:
        values = super().given()
        if values.get("at") == "":
            del values["at"]
            values |= {"at_date": None, "at_time": None}
        return values

    def refuse(self, exc: SettingsRefused) -> None:
        parts = {"at_date": "at", "at_time": "at"}
        super().refuse(SettingsRefused({parts.get(name, name): text for name, text in exc.errors.items()}))


def _stored_rule(rule: ReminderRule) -> dict[str, Any]:
    return {
        **{name: getattr(rule, name) for name in ("offset", "anchor", "time_zone", "audience")},
        "at": "" if rule.at_time is None else f"{rule.at_date}T{clock_text(rule.at_time)}",
        "person": "" if rule.person is None else rule.person.get_username(),
    }
