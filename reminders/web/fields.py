"""Fields of forms as browsers have their own controls for: dates, times, short lists."""

from typing import Any

from django import forms

from jobs.edit_forms import EditForm
from jobs.operators.settings import SettingsRefused
from reminders.wording import refusal_words


def date_field(label: str, **options: Any) -> forms.DateField:
    widget = forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", "min": "1970-01-01", "max": "2999-12-31"})
    told = {"invalid": "This is no date. Write it as 2027-01-31."}
    return forms.DateField(
        label=label, widget=widget, input_formats=["%Y-%m-%d"], error_messages=told, **_optional(options)
    )


def time_field(label: str, **options: Any) -> forms.TimeField:
    widget = forms.TimeInput(format="%H:%M", attrs={"type": "time"})
    told = {"invalid": "This is no time of day. Write it as 09:30."}
    formats = ["%H:%M", "%H:%M:%S"]
    return forms.TimeField(label=label, widget=widget, input_formats=formats, error_messages=told, **_optional(options))


def _optional(options: dict[str, Any]) -> dict[str, Any]:
    return {"required": False, **options}


class Words(forms.CharField):
    """Several texts in one line, separated by commas."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> list[str]:
        return words_of(super().clean(value) or "")


def words_of(text: str) -> list[str]:
    return list(dict.fromkeys(word for part in text.split(",") if (word := part.strip())))


class PageForm(EditForm):
    """A form whose values go to a service, and whose refusals come back beside the fields."""

    def refused(self, exc: SettingsRefused) -> None:
        """Each refusal beside its field; those of no field of this form above all of them."""
        for name, text in exc.errors.items():
            field = self.field_of(name)
            words = refusal_words(text)
            if field is None:
                self.add_error(None, f"{name}: {words}")
            elif words not in self.errors.get(field, []):
                self.add_error(field, words)

    def field_of(self, setting: str) -> str | None:
        """The field that a service's setting is entered in."""
        return setting if setting in self.fields else None
