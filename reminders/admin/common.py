"""What the pages of tasks and reminders share: what refuses, pills, links, filters and forms of texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from jobs.admin import show
from jobs.admin.filters import FixedFilter
from jobs.admin.service_pages import ServiceAdmin, link, sentence
from jobs.edit_forms import EditForm, ListEdit
from jobs.operators.lookups import NotHere
from jobs.operators.settings import MAX_TEXT, SettingsRefused
from reminders import recurrence
from reminders.models import DeliveryState, Reminder, ReminderDelivery, ReminderState, Todo
from reminders.operators import access
from reminders.services.channels import ChannelRefused
from reminders.services.todos import TodoRefused

REFUSALS = (
    *(NotHere, SettingsRefused, TodoRefused, ChannelRefused),
    *(recurrence.RuleRefused, ObjectDoesNotExist, PermissionDenied),
)
PRIORITIES = {0: "", 1: "quiet", 2: "queued", 3: "running", 4: "bad"}
REMINDER_PILLS = {
    ReminderState.DUE: "queued",
    ReminderState.HELD: "scheduled",
    ReminderState.OUTBOX: "good",
    ReminderState.DROPPED: "quiet",
    ReminderState.EXPIRED: "bad",
}
REMINDER_WORDS = {ReminderState.OUTBOX: "handed over", ReminderState.DROPPED: "not sent"}
DELIVERY_PILLS = {
    DeliveryState.PENDING: "queued",
    DeliveryState.SENT: "good",
    DeliveryState.FAILED: "bad",
    DeliveryState.UNCERTAIN: "bad",
    DeliveryState.DROPPED: "quiet",
}
MOST_PEOPLE = 100


class RemindersAdmin(ServiceAdmin):
    refusals: tuple[type[Exception], ...] = REFUSALS
    row_template = "reminders/admin/row.html"

    def ticked(self, request: HttpRequest) -> list[int]:
        """The rows that were ticked in the list, in order."""
        keys = dict.fromkeys(request.POST.getlist(ACTION_CHECKBOX_NAME))
        return [int(key) for key in keys if key.isascii() and key.isdigit() and len(key) < 20]

    def tell(self, request: HttpRequest, done: str, skipped: Sequence[str]) -> None:
        """What was done to several, and why the rest was not."""
        text = f"{done}; {len(skipped)} not: {'; '.join(skipped[:3])}" if skipped else done
        messages.add_message(request, messages.WARNING if skipped else messages.SUCCESS, sentence(text))


def page_url(model: str, pk: Any, page: str = "change") -> str:
    return reverse(f"admin:reminders_{model}_{page}", args=[pk])


def todo_link(todo: Todo | None) -> SafeString | str:
    return show.DASH if todo is None else link(page_url("todo", todo.pk), show.one_line(todo.title, 60))


def todo_of(row: Any) -> SafeString | str:
    """The link to the task of a row with its `access.title_of`; without its words for those who may not see it."""
    return todo_link(row.todo) if access.title_of(row) else f"task {row.todo_id}"


def todo_pill(todo: Todo, is_late: bool) -> SafeString:
    if todo.is_open:
        return show.pill("overdue", "bad") if is_late else show.pill("open", "queued")
    return show.pill("given up", "quiet") if todo.cancelled else show.pill("done", "good")


def reminder_pill(reminder: Reminder) -> SafeString:
    state = ReminderState(reminder.state)
    return show.pill(REMINDER_WORDS.get(state, str(state.value)), REMINDER_PILLS[state])


def delivery_pill(delivery: ReminderDelivery) -> SafeString:
    state = DeliveryState(delivery.state)
    return show.pill("not sent" if state == DeliveryState.DROPPED else str(state.value), DELIVERY_PILLS[state])


class PersonFilter(FixedFilter):
    """Of the first hundred open accounts by name, and whoever a link names."""

    title = "person"
    parameter_name = "person"
    column = "recipient"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        people = get_user_model()._default_manager.filter(is_active=True).order_by("username")
        names = list(people.values_list("username", flat=True)[:MOST_PEOPLE])
        given = request.GET.get(str(self.parameter_name))
        return [(name, name) for name in dict.fromkeys([*names, *([given] if given else [])])]

    def narrow(self, request: HttpRequest, queryset: Any, value: str) -> Any:
        return queryset.filter(**{f"{self.column}__username": value})


class UserFilter(PersonFilter):
    title = "user"
    parameter_name = "user"
    column = "user"


class GivenFilter(FixedFilter):
    """Set by links alone."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get(str(self.parameter_name))
        return [(given, given)] if given else []


class TodoFilter(GivenFilter):
    title = "task"
    parameter_name = "todo"
    path = "todo"

    def narrow(self, request: HttpRequest, queryset: Any, value: str) -> Any:
        known = value.isascii() and value.isdigit() and len(value) < 19
        return queryset.filter(**{self.path: int(value)}) if known else queryset.none()


# --- Forms ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """kind: text, long, switch, names (by commas), or choices of (value, words)."""

    label: str
    text: str = ""
    kind: str | Sequence[tuple[str, str]] = "text"


class TextForm(EditForm):
    """Texts as people write them, which the service reads; what was not changed in the form is not given.

    groups: title → its fields by name. stored: what the fields hold now.
    """

    def __init__(self, groups: Mapping[str, Mapping[str, Entry]], stored: Mapping[str, Any], data: Any) -> None:
        self.groups, self.stored = groups, stored
        super().__init__(data, initial={name: _shown(value) for name, value in stored.items()})
        for entries in groups.values():
            for name, entry in entries.items():
                self.fields[name] = _field(entry)

    def shown_groups(self) -> list[dict[str, Any]]:
        """For templates/jobs/settings_form.html."""
        return [
            {"title": title, "note": "", "fields": [self[name] for name in entries]}
            for title, entries in self.groups.items()
        ]

    def given(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for entries in self.groups.values():
            for name, entry in entries.items():
                value = self.cleaned_data[name]
                if isinstance(value, str):
                    value = value.replace("\r\n", "\n")
                now = self.stored.get(name) if isinstance(value, bool) else _shown(self.stored.get(name))
                if name in self.changed_data and value != now:
                    is_list = entry.kind == "names"
                    values[name] = ListEdit(_names(self.shown_before[name]), _names(value)) if is_list else value
        return values

    def refuse(self, exc: SettingsRefused) -> None:
        """Put what the service says beside its fields."""
        for name, text in exc.errors.items():
            subject = "It " if text.startswith(("is ", "has ", "needs ")) else ""
            self.add_error(name if name in self.fields else None, sentence(f"{subject}{text}"))


def _shown(value: Any) -> str | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value)


def _names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


def _field(entry: Entry) -> forms.Field:
    common: dict[str, Any] = {"label": entry.label, "help_text": entry.text, "required": False}
    if entry.kind == "switch":
        return forms.BooleanField(widget=UnfoldBooleanSwitchWidget, **common)
    if not isinstance(entry.kind, str):
        return forms.ChoiceField(choices=list(entry.kind), widget=UnfoldAdminSelectWidget, **common)
    if entry.kind == "long":
        return forms.CharField(widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}), max_length=MAX_TEXT, **common)
    # Lists have as many entries as the services take, in one line.
    longest = MAX_TEXT if entry.kind == "names" else 4000
    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    return forms.CharField(widget=widget, max_length=longest, **common)
