"""The form of a channel: what is entered of address and secret is not sent back."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from jobs.admin.settings_form import TAKE_AWAY, Group, SettingsForm
from reminders.models import Channel, ChannelKind

_PERSON = "Whom it reaches: an account's name."
_KIND = ("Kind", "Apprise: chats and telephones, by a URL of that library. It stays.")
_ADDRESSES = {
    ChannelKind.MAIL: "Empty: the account's own; the owner of another one is asked first.",
    ChannelKind.WEBHOOK: "An https URL.",
    ChannelKind.APPRISE: "A URL as Apprise takes it, such as ntfy://topic.",
}
_OF_EACH = (
    "Mail: empty for the account's own; the owner of another one is asked first. Webhook: an https URL. "
    "Apprise: a URL such as ntfy://topic."
)
_SIGNS = "What a webhook's messages are signed with (whsec_…); one is made where it is left empty, and shown once."


class _Typed(UnfoldAdminTextInputWidget):
    """Seen while it is typed, and never sent back."""

    def format_value(self, value: Any) -> str:
        return ""


class ChannelForm(SettingsForm):
    """One channel; a new one has a person, whose name may be filled in."""

    def __init__(self, row: Channel, data: Any, person: str = "") -> None:
        is_new = row._state.adding
        address = _OF_EACH if is_new else _ADDRESSES[ChannelKind(row.kind)]
        groups = [
            Group("Whose", "", {"kind": _KIND}) if is_new else None,
            Group("Where to", "", {"address": ("Address", address), "label": ("Label", "")}),
            Group("Of a webhook", "", {"secret": ("Secret", _SIGNS)})
            if is_new or row.kind == ChannelKind.WEBHOOK
            else None,
            Group("Use", "", {"enabled": ("Enabled", "Nothing goes by one that is switched off.")}),
        ]
        super().__init__(row, [group for group in groups if group is not None], {}, data)
        self.fields["address"].widget = _Typed(
            attrs={"autocomplete": "off", "spellcheck": "false", "placeholder": "set" if row.address else "not set"}
        )
        if is_new:
            widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"})
            self.fields["person"] = forms.CharField(
                label="Person", help_text=_PERSON, max_length=150, widget=widget, initial=person[:150]
            )
        elif row.kind != ChannelKind.MAIL:
            # The service would refuse it: it would lead nowhere, or sign nothing.
            for name in ("address", "secret"):
                self.fields.pop(f"{name}{TAKE_AWAY}", None)

    def shown_groups(self) -> list[dict[str, Any]]:
        groups = super().shown_groups()
        if "person" in self.fields:
            groups[0]["fields"].insert(0, self["person"])
        return groups

    def person(self) -> str:
        """An account's name."""
        return str(self.cleaned_data["person"]).strip()

    def given(self) -> dict[str, Any]:
        values = super().given()
        values.pop("person", None)
        return values
