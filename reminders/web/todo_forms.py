"""Forms of a task: the quick line, the whole of it, when to snooze until, its rules."""

import uuid
from typing import Any

from django import forms

from jobs.edit_forms import ListEdit
from reminders.models import Audience, Priority, RepeatFrom, Todo
from reminders.services import agenda
from reminders.web import repeats, zones
from reminders.web.fields import PageForm, Words, date_field, time_field, words_of
from reminders.wording import WEEKDAYS, offset_words

LONGEST_TITLE = 500
#: In one line, as many as the services take.
LONGEST_TAGS, LONGEST_NAMES = 200 * 52, 100 * 152
OFFSETS = ("PT0S", "-PT15M", "-PT1H", "-PT3H", "-P1D", "-P2D", "-P1W")
PRIORITIES = [(priority.name.lower(), priority.label) for priority in Priority]
_AUDIENCES = (
    ("me", "me"),
    (Audience.ASSIGNEES, "whoever does it"),
    (Audience.WATCHERS, "its watchers"),
    (Audience.EVERYONE, "everybody on it"),
)


class QuickForm(PageForm):
    """Title, day and time. key: of this form, so that what is sent twice makes one task."""

    title = forms.CharField(label="New task", max_length=LONGEST_TITLE)
    due_date = date_field("Due on")
    due_time = time_field("At")
    key = forms.UUIDField(widget=forms.HiddenInput, required=False)

    def uid(self, person_id: int) -> str:
        """Of the task that this makes: the same if the same is sent again, another one for other contents."""
        key = self.cleaned_data.get("key") or uuid.uuid4()
        content = repr(sorted((name, str(value)) for name, value in self.cleaned_data.items() if name != "key"))
        return f"{uuid.uuid5(key, f'{person_id} {content}')}@switchyard"

    def given(self) -> dict[str, Any]:
        """As the service takes it. A time without a day is meant for the service to refuse."""
        values = self.cleaned_data
        return {name: values[name] for name in ("title", "due_date", "due_time")}


class TodoForm(QuickForm):
    """All of a task. remind: of a new one alone, which comes with those rules."""

    notes = forms.CharField(label="Notes", required=False, max_length=20_000, widget=forms.Textarea(attrs={"rows": 4}))
    start_date = date_field("Starts on")
    start_time = time_field("Starts at")
    time_zone = forms.ChoiceField(label="Time zone of these times")
    remind = forms.MultipleChoiceField(label="Remind", required=False, widget=forms.CheckboxSelectMultiple)
    overdue_reminders = forms.BooleanField(
        label="Remind when it is due, a day later, and its watchers after three days", required=False, initial=True
    )
    repeat = forms.ChoiceField(label="Repeat", required=False, choices=repeats.CHOICES)
    interval = forms.IntegerField(
        label="Every … days, weeks, months", required=False, min_value=1, max_value=repeats.LONGEST_INTERVAL
    )
    weekdays = forms.MultipleChoiceField(
        label="On (by weeks)", required=False, choices=WEEKDAYS, widget=forms.CheckboxSelectMultiple
    )
    month_day = forms.TypedChoiceField(
        label="On the day (by months)",
        required=False,
        coerce=int,
        empty_value=None,
        choices=[("", "that it is due"), *((day, "last" if day == -1 else str(day)) for day in repeats.MONTH_DAYS)],
    )
    rrule = forms.CharField(
        label="Rule of your own",
        required=False,
        max_length=500,
        help_text="As in calendars, such as FREQ=MONTHLY;BYDAY=1FR for each first Friday.",
    )
    repeat_from = forms.ChoiceField(
        label="The next one is counted from",
        required=False,
        choices=[(RepeatFrom.DUE, "when it was due"), (RepeatFrom.COMPLETION, "when it was done")],
        widget=forms.RadioSelect,
        initial=RepeatFrom.DUE,
        help_text="From when it was done, it takes no days of the week or month.",
    )
    project = forms.TypedChoiceField(label="Project", required=False, coerce=int, empty_value=None)
    priority = forms.ChoiceField(label="Priority", choices=PRIORITIES, required=False, initial="none")
    tags = Words(label="Tags", required=False, max_length=LONGEST_TAGS, help_text="Separated by commas.")
    assignees = Words(
        label="To be done by",
        required=False,
        max_length=LONGEST_NAMES,
        help_text="Names of accounts, separated by commas; empty: by whoever made it.",
    )
    watchers = Words(
        label="Watched by", required=False, max_length=LONGEST_NAMES, help_text="Names, separated by commas."
    )

    def __init__(self, *args: Any, user: Any, zone: str, todo: Todo | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: Any = self.fields
        fields["title"].label, fields["due_time"].label = "Title", "Due at"
        fields["time_zone"].choices = zones.choices(todo.time_zone if todo else zone)
        projects = [(project.pk, project.name) for project in agenda.projects_of(user)]
        if todo is not None and todo.project is not None and (todo.project_id, todo.project.name) not in projects:
            projects.append((todo.project_id or 0, todo.project.name))
        fields["project"].choices = [("", "None"), *projects]
        if todo is None:
            fields["remind"].choices = [(offset, offset_words(offset)) for offset in OFFSETS]
        else:
            del fields["remind"], fields["key"]

    def given(self) -> dict[str, Any]:
        values = self.cleaned_data
        names = ("title", "notes", "tags", "start_date", "start_time", "due_date", "due_time", "time_zone")
        given = {name: values[name] for name in (*names, "overdue_reminders", "assignees", "watchers", "project")}
        given |= {"priority": values["priority"] or "none", "repeat_from": values["repeat_from"] or RepeatFrom.DUE}
        given["notes"] = given["notes"].replace("\r\n", "\n")
        given["rrule"] = repeats.to_rule(values)
        if values.get("remind"):
            given["rules"] = [{"offset": offset} for offset in values["remind"]]
        return given

    def field_of(self, setting: str) -> str | None:
        if setting == "rrule":
            return "rrule" if self.cleaned_data.get("repeat") == "own" else "repeat"
        return "remind" if setting == "rules" and "remind" in self.fields else super().field_of(setting)

    def changed(self) -> dict[str, Any]:
        """Of what is given, what somebody has changed in the form; of lists, what they added and took off."""
        fields = set(self.changed_data)
        if fields & {"interval", "weekdays", "month_day", "repeat"}:
            fields.add("rrule")
        changed = {name: value for name, value in self.given().items() if name in fields}
        for name in changed.keys() & {"tags", "assignees", "watchers"}:
            changed[name] = ListEdit(words_of(self.shown_before[name]), changed[name])
        return changed


def initial_of(todo: Todo) -> dict[str, Any]:
    """What the form of a task shows at first."""
    names = ("title", "notes", "tags", "start_date", "start_time", "due_date", "due_time", "time_zone")
    shown = {name: getattr(todo, name) for name in (*names, "overdue_reminders", "repeat_from")}
    return {
        **shown,
        **repeats.from_rule(todo.rrule),
        "project": todo.project_id,
        "priority": Priority(todo.priority).name.lower(),
        "assignees": [user.get_username() for user in todo.assignees.all()],
        "watchers": [user.get_username() for user in todo.watchers.all()],
    }


class SnoozeForm(PageForm):
    """Until a day, at a time of it or at the person's hour for such."""

    day = date_field("Until", required=True)
    clock = time_field("At", help_text="Empty: at your hour for days without a time.")

    def until(self) -> str:
        day, clock = self.cleaned_data["day"], self.cleaned_data["clock"]
        return f"{day}T{clock:%H:%M}" if clock else str(day)

    def field_of(self, setting: str) -> str | None:
        return "day" if setting == "until" else None


class RuleForm(PageForm):
    """One more reminder of a task: at a usual time, at an own distance, or at a time of the clock."""

    when = forms.ChoiceField(
        label="When",
        choices=[
            *((f"due {offset}", offset_words(offset)) for offset in OFFSETS),
            *((f"start {offset}", offset_words(offset, "start")) for offset in ("PT0S", "-PT15M", "-P1D")),
            ("own", "at another distance, in days, hours and minutes"),
            ("at", "on a day, at a time"),
        ],
    )
    days = forms.IntegerField(label="Days", required=False, min_value=0, max_value=3660)
    hours = forms.IntegerField(label="Hours", required=False, min_value=0, max_value=999)
    minutes = forms.IntegerField(label="Minutes", required=False, min_value=0, max_value=9999)
    side = forms.ChoiceField(
        label="Which is", required=False, choices=[("-", "before it is due"), ("+", "after it is due")]
    )
    at_date = date_field("On the day")
    at_time = time_field("At")
    audience = forms.ChoiceField(label="Whom", choices=_AUDIENCES)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if values.get("when") == "own" and not any(values.get(name) for name in ("days", "hours", "minutes")):
            self.add_error("days", "Say how long before or after.")
        if values.get("when") == "at":
            for name, text in (("at_date", "Say on which day."), ("at_time", "Say at what time.")):
                if name not in self.errors and values.get(name) is None:
                    self.add_error(name, text)
        return values

    def given(self, username: str) -> dict[str, Any]:
        values = self.cleaned_data
        whom = values["audience"]
        given: dict[str, Any] = {"person": username} if whom == "me" else {"audience": whom}
        if values["when"] == "at":
            return {**given, "at_date": values["at_date"], "at_time": values["at_time"]}
        if values["when"] == "own":
            return {**given, "offset": _offset(values)}
        anchor, _, offset = values["when"].partition(" ")
        return {**given, "anchor": anchor, "offset": offset}

    def field_of(self, setting: str) -> str | None:
        return {"offset": "when", "person": "audience"}.get(setting, super().field_of(setting))


def _offset(values: dict[str, Any]) -> str:
    """A duration of RFC 5545."""
    days, hours, minutes = (values.get(name) or 0 for name in ("days", "hours", "minutes"))
    clock = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count)
    return f"{'-' if values.get('side') != '+' else ''}P{f'{days}D' if days else ''}{f'T{clock}' if clock else ''}"
