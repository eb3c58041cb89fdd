"""Forms of settings: a field for each column, in groups with words; a secret is written and never shown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.postgres.fields import ArrayField
from django.db import models
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from jobs import strict_json
from jobs.admin.service_pages import sentence
from jobs.edit_forms import EditForm, list_after
from jobs.operators.settings import MAX_TEXT, SettingsRefused
from jobs.secrets import SecretField

TAKE_AWAY = "_take_away"


@dataclass(frozen=True)
class Group:
    """fields: name → (label, explanation); without an explanation, the column's own."""

    title: str
    note: str
    fields: Mapping[str, tuple[str, str]]


class Lines(forms.CharField):
    """A list of texts, one a line."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return [line.strip() for line in str(super().clean(value)).splitlines() if line.strip()]


class JsonLines(forms.CharField):
    """JSON as typed, kept so when it is wrong."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": 5, "class": "sy-json", "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **options)

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

    def clean(self, value: Any) -> Any:
        try:
            return strict_json.loads(super().clean(value) or "[]")
        except strict_json.NotJson as exc:
            raise forms.ValidationError(f"This is not JSON: {exc}.") from None


class Secret(forms.CharField):
    """Written, never shown; what is left empty stays as it is."""

    def __init__(self, *, is_set: bool, long: bool, help_text: str, **options: Any) -> None:
        attrs = {"autocomplete": "off", "spellcheck": "false", "placeholder": "set" if is_set else "not set"}
        widget: Any = UnfoldAdminPasswordWidget(attrs={**attrs, "autocomplete": "new-password"}, render_value=False)
        if long:
            widget = Unrepeated(attrs={**attrs, "rows": 4})
        help_text = "It is set; leave this empty to keep it." if is_set else help_text
        super().__init__(required=False, widget=widget, help_text=help_text, strip=False, **options)

    def clean(self, value: Any) -> str:
        return str(super().clean(value)).replace("\r\n", "\n")


class Unrepeated(UnfoldAdminTextareaWidget):
    """A box for a text that is not sent back, also where the form comes back with errors."""

    def format_value(self, value: Any) -> str:
        return ""


class SettingsForm(EditForm):
    """row: as it is stored; a new one has its columns' defaults, but for what is left_to_service where it is empty."""

    left_to_service: frozenset[str] = frozenset()

    def __init__(
        self, row: models.Model, groups: Sequence[Group], choices: Mapping[str, Sequence[tuple[str, str]]], data: Any
    ) -> None:
        self.row, self.groups = row, groups
        initial = {name: _initial(row, name) for group in groups for name in group.fields}
        if row._state.adding:
            initial |= dict.fromkeys(self.left_to_service, "")
        super().__init__(data, initial=initial)
        for group in groups:
            for name, (label, text) in group.fields.items():
                self.fields[name] = _field(row, name, label, text, choices.get(name))
                if row._state.adding and name in self.left_to_service:
                    self.fields[name].required = False
                if isinstance(self.fields[name], Secret) and getattr(row, name):
                    self.fields[f"{name}{TAKE_AWAY}"] = forms.BooleanField(
                        label=f"Take away: {label}",
                        required=False,
                        widget=UnfoldBooleanSwitchWidget,
                    )

    def shown_groups(self) -> list[dict[str, Any]]:
        """For templates/jobs/settings_form.html."""
        shown = []
        for group in self.groups:
            names = [each for name in group.fields for each in (name, f"{name}{TAKE_AWAY}") if each in self.fields]
            shown.append({"title": group.title, "note": group.note, "fields": [self[name] for name in names]})
        return shown

    def given(self) -> dict[str, Any]:
        """What the service takes: of a stored row, what was changed in the form, and differs from it."""
        values: dict[str, Any] = {}
        for name, value in self.cleaned_data.items():
            if name.endswith(TAKE_AWAY) or (name in self.left_to_service and self.row._state.adding and value == ""):
                continue
            if isinstance(self.fields[name], Secret):
                if value or self.cleaned_data.get(f"{name}{TAKE_AWAY}"):
                    values[name] = value
            elif self.row._state.adding or (name in self.changed_data and value != self.initial[name]):
                values[name] = self._list_after(name, value) if isinstance(self.fields[name], Lines) else value
        return values

    def _list_after(self, name: str, wanted: list[str]) -> list[str]:
        """Whoever else added or took off an entry meanwhile keeps that."""
        return list_after(self.initial[name], self.fields[name].clean(self.shown_before[name]), wanted)

    def refuse(self, exc: SettingsRefused) -> None:
        """Put what the service says beside its fields."""
        for name, text in exc.errors.items():
            subject = "It " if text.startswith(("is ", "has ")) else ""
            self.add_error(name if name in self.fields else None, sentence(f"{subject}{text}"))


def _initial(row: models.Model, name: str) -> Any:
    column: Any = row._meta.get_field(name)
    if isinstance(column, SecretField):
        return ""
    if isinstance(column, models.ForeignKey):
        related = getattr(row, name)
        return None if related is None else str(related)
    if isinstance(column, models.DecimalField):
        value = getattr(row, name)
        return None if value is None else str(value)
    return getattr(row, name)


def _field(
    row: models.Model, name: str, label: str, text: str, choices: Sequence[tuple[str, str]] | None
) -> forms.Field:
    column: Any = row._meta.get_field(name)
    common: dict[str, Any] = {"label": label, "help_text": text or str(column.help_text)}
    if isinstance(column, SecretField):
        return Secret(is_set=bool(getattr(row, name)), long=name == "private_key", max_length=MAX_TEXT, **common)
    if isinstance(column, ArrayField):
        return Lines(**common)
    if choices is not None or column.choices:
        chosen = [(str(key), str(words)) for key, words in (choices if choices is not None else column.choices)]
        return _choice(row, column, name, chosen, common)
    if isinstance(column, models.BooleanField):
        return forms.BooleanField(required=False, widget=UnfoldBooleanSwitchWidget, **common)
    return _typed(column, common)


def _choice(
    row: models.Model, column: Any, name: str, chosen: list[tuple[str, str]], common: dict[str, Any]
) -> forms.Field:
    now = _initial(row, name)
    if now == "" and not column.blank:
        chosen.insert(0, ("", "Choose one"))
    elif now is not None and str(now) not in dict(chosen):
        chosen.append((str(now), f"{now} (not known any more)"))
    return forms.TypedChoiceField(
        choices=chosen,
        required=not column.null,
        empty_value=None if column.null else "",
        widget=UnfoldAdminSelectWidget,
        **common,
    )


def _typed(column: Any, common: dict[str, Any]) -> forms.Field:
    if isinstance(column, models.JSONField):
        return JsonLines(**common)
    if isinstance(column, models.IntegerField):
        return forms.IntegerField(required=not column.null, widget=UnfoldAdminIntegerFieldWidget, **common)
    if isinstance(column, models.FloatField):
        widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"})
        return forms.FloatField(widget=widget, **common)
    if isinstance(column, models.DecimalField):
        widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"})
        empty = None if column.null else ""
        return forms.CharField(required=not column.null, empty_value=empty, max_length=40, widget=widget, **common)
    if isinstance(column, models.TextField):
        widget = UnfoldAdminTextareaWidget(attrs={"rows": 4})
        return forms.CharField(required=not column.blank, widget=widget, max_length=MAX_TEXT, **common)
    widget = UnfoldAdminTextInputWidget(attrs={"spellcheck": "false"})
    return forms.CharField(required=not column.blank, widget=widget, max_length=column.max_length, **common)
