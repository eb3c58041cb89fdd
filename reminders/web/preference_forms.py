"""Forms of how somebody wants to be reminded."""

from typing import Any

from django import forms

from reminders.models import ChannelKind, Preferences
from reminders.web import zones
from reminders.web.fields import PageForm, date_field, time_field
from reminders.web.todo_forms import RuleForm

DIGESTS = (
    (0, "Never: each by itself"),
    (2, "From 2 on"),
    (3, "From 3 on"),
    (4, "From 4 on"),
    (6, "From 6 on"),
    (10, "From 10 on"),
)


class PreferencesForm(PageForm):
    """Clock and hours."""

    time_zone = forms.ChoiceField(
        label="Time zone",
        help_text="Your clock: of the times on these pages, and of what you enter. It is not taken from your browser.",
    )
    anchor_time = time_field(
        "Hour for days without a time",
        required=True,
        help_text="When you are reminded of what is due on a day, at no time of it.",
    )
    quiet_from = time_field("Quiet from", help_text="From then on nothing is sent; empty: never quiet.")
    quiet_until = time_field("Quiet until", help_text="What was held is sent then; may be on the next day.")
    urgent_bypasses_quiet = forms.BooleanField(label="Urgent tasks may disturb me in quiet hours", required=False)
    digest_from = forms.TypedChoiceField(
        label="Several reminders within ten minutes in one message", coerce=int, choices=DIGESTS
    )

    def __init__(self, data: Any = None, *, kept: Preferences) -> None:
        super().__init__(data, initial={name: getattr(kept, name) for name in self.base_fields})
        fields: Any = self.fields
        fields["time_zone"].choices = zones.choices(kept.time_zone)
        if kept.digest_from not in dict(DIGESTS):
            fields["digest_from"].choices = sorted([*DIGESTS, (kept.digest_from, f"From {kept.digest_from} on")])

    def changed(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name in self.changed_data}


class PauseForm(PageForm):
    """Until a day, at a time of it or at the hour for such."""

    day = date_field("Send nothing until", required=True)
    clock = time_field("At", help_text="Empty: at your hour for days without a time.")

    def until(self) -> str:
        day, clock = self.cleaned_data["day"], self.cleaned_data["clock"]
        return f"{day}T{clock:%H:%M}" if clock else str(day)

    def field_of(self, setting: str) -> str | None:
        return "day" if setting == "paused_until" else None


class DefaultRuleForm(RuleForm):
    """A rule for all tasks without rules of their own: relative, and for oneself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: Any = self.fields
        for name in ("audience", "at_date", "at_time"):
            del fields[name]
        fields["when"].choices = [choice for choice in fields["when"].choices if choice[0] != "at"]

    def given(self, username: str = "") -> dict[str, Any]:
        # Whom is not asked here.
        self.cleaned_data["audience"] = "me"
        return {name: value for name, value in super().given(username).items() if name != "person"}


class ChannelForm(PageForm):
    """One more way to be reached."""

    kind = forms.ChoiceField(
        label="Way",
        choices=[
            (ChannelKind.WEBHOOK, "Webhook: an address that takes signed messages"),
            (ChannelKind.APPRISE, "Apprise: chat, push and other services"),
            (ChannelKind.MAIL, "Mail"),
        ],
    )
    label = forms.CharField(label="Name", required=False, max_length=100, help_text="For yourself, such as “phone”.")
    address = forms.CharField(
        label="Address",
        required=False,
        max_length=2000,
        help_text="Webhook: an https URL. Apprise: a URL as that library takes, such as ntfys://ntfy.sh/my-topic. "
        "Mail: empty for the address of your account. It is stored encrypted, and not shown again.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def given(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("kind", "label", "address")}

    def field_of(self, setting: str) -> str | None:
        return {"secret": "address"}.get(setting, super().field_of(setting))
