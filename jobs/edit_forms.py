"""Forms of what several people edit at once: each saves what its user changed, and puts nothing else back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundField
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs import strict_json

SHOWN = "shown"


class EditForm(forms.Form):
    """A form that carries along what it showed when it was opened, in a hidden field of its own.

    What its user changed is told by that, and not by what is stored when the form comes back: somebody else may have
    changed that meanwhile. What comes without it, as from a script, is compared with what is stored now.
    """

    def shown_input(self) -> SafeString:
        """For the template, inside the form; one that comes back with errors keeps what it had."""
        text = json.dumps(self.shown_before, ensure_ascii=False)
        hidden = '<input type="hidden" name="{}" value="{}" autocomplete="off">'
        return format_html(hidden, self.add_prefix(SHOWN), text)

    @cached_property
    def shown_before(self) -> dict[str, Any]:
        """By field, what its control held when the form was opened."""
        sent = _read(self.data.get(self.add_prefix(SHOWN))) if self.is_bound else {}
        now = {name: content_of(self[name]) for name in self.fields}
        return {name: sent[name] if _is_alike(sent.get(name), held) else held for name, held in now.items()}

    @cached_property
    def changed_data(self) -> list[str]:
        """The fields that hold something else now than the form showed."""
        return [name for name in self.fields if self._is_changed(name)]

    def _is_changed(self, name: str) -> bool:
        field, shown, sent = self.fields[name], self.shown_before[name], _with_plain_ends(self[name].data)
        try:
            before = field.to_python(_with_plain_ends(shown))
        except ValidationError:
            return bool(shown != sent)
        return field.has_changed(before, sent)


def content_of(bound: BoundField) -> Any:
    """What a field's control holds at first, as a browser sends it: a text, a list of them, or whether it is ticked."""
    widget: Any = bound.field.widget
    value = bound.field.prepare_value(bound.initial)
    if isinstance(widget, forms.CheckboxInput):
        return bool(value)
    held = widget.format_value(value)
    if isinstance(held, list | tuple) and not widget.allow_multiple_selected:
        held = held[0] if held else ""
    return "" if held is None else held


def list_after(now: Sequence[str], shown: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """What is there now, with what somebody added to the list that they were shown, without what they took off it."""
    if list(now) == list(shown):
        return list(wanted)
    kept = [one for one in now if one in wanted or one not in shown]
    return [*kept, *(one for one in wanted if one not in shown and one not in kept)]


@dataclass(frozen=True)
class ListEdit:
    """What somebody made of a list that they were shown, for a service that knows the list once the row is locked."""

    shown: Sequence[str]
    wanted: Sequence[str]

    def after(self, now: Sequence[str]) -> list[str]:
        return list_after(now, self.shown, self.wanted)


def _read(text: Any) -> dict[str, Any]:
    try:
        read = strict_json.loads(text or "{}")
    except strict_json.NotJson:
        return {}
    return read if isinstance(read, dict) else {}


def _is_alike(sent: Any, held: Any) -> bool:
    """Whether it can have been held by the same control."""
    return type(sent) is type(held) and (not isinstance(sent, list) or all(isinstance(one, str) for one in sent))


def _with_plain_ends(value: Any) -> Any:
    """Browsers end lines by CR LF."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value
