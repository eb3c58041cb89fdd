"""What lists and rows share: pages, filters that are refused when unknown, settings that are refused by field."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from jobs.api.pagination import ByName, NewestFirst
from jobs.api.problems import add_meaning
from jobs.api.views import ApiView
from jobs.operators.lookups import LARGEST_ID, LARGEST_NUMBER, NotHere
from jobs.operators.settings import SettingsRefused

add_meaning(NotHere, 404, "not-found")

CONFLICT = {409: OpenApiTypes.OBJECT}
IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="For 24 hours, the same key with the same body gives the same answer.",
)
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def id_parameter(name: str, what: str) -> OpenApiParameter:
    return OpenApiParameter(name, int, OpenApiParameter.PATH, description=f"The {what}'s number here.")


def idempotency_key(request: Request) -> str | None:
    """Raises ValidationError."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise ValidationError({"Idempotency-Key": ["must be 1 to 255 printable ASCII characters"]})
    return key


# --- Pages ------------------------------------------------------------------------------------------------------------


class NumberedLast(ByName):
    """The last column of the order is the row's number."""

    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            number = position[-1]
            if not (number.isascii() and number.isdigit() and int(number[:25]) <= LARGEST_ID):
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
            position[-1] = int(number)
        return backwards, position


class NewestRowsFirst(NumberedLast, NewestFirst):
    """Up to 200 rows, the newest first."""


class NewestNumbersFirst(NumberedLast):
    ordering = ("-id",)


# --- Filters ----------------------------------------------------------------------------------------------------------


class ListFilter(filters.FilterSet):
    """Hands what is asked for to a service's list, all at once."""

    listed: ClassVar[Callable[..., QuerySet[Any]]]

    def same(self, queryset: Any, name: str, _: Any) -> Any:
        # Named `value`, with its hint it would be taken for the type in the API's description.
        return queryset  # see filter_queryset

    def asked(self) -> dict[str, Any]:
        return {name: value for name, value in self.form.cleaned_data.items() if value not in (None, "", [])}

    def filter_queryset(self, queryset: Any) -> Any:
        return type(self).listed(**self.asked())


def _described(made: Any, schema: dict[str, Any]) -> Any:
    """How the API's description tells of a filter's values, which else come from a column of the same name."""
    return extend_schema_field(schema)(made)


def text_filter(help_text: str, max_length: int = 255) -> filters.CharFilter:
    return filters.CharFilter(method="same", max_length=max_length, help_text=help_text)


def choice_filter(word: str, choices: list[tuple[str, str]], *, several: bool = False) -> filters.ChoiceFilter:
    names = [str(value) for value, _ in choices]
    kind = filters.MultipleChoiceFilter if several else filters.ChoiceFilter
    refusal = {"invalid_choice": f"unknown {word} %(value)r; choose from: {', '.join(names)}"}
    help_text = "May be given several times." if several else ""
    made = kind(method="same", choices=choices, error_messages=refusal, help_text=help_text)
    return _described(made, {"type": "string", "enum": names, "description": help_text})


def _refusal(value: Any, what: str) -> forms.ValidationError:
    """Its texts are parameters: django-filter puts them into the message once more, where a `%` would be read."""
    return forms.ValidationError("%(value)r is %(what)s", params={"value": str(value)[:40], "what": what})


class _Refusing:
    """A form's field that names the value which it does not take, and what it takes."""

    takes = ""

    def clean(self, value: Any) -> Any:
        try:
            return super().clean(value)  # type: ignore[misc]
        except forms.ValidationError:
            raise _refusal(value, f"not {self.takes}") from None


class _WholeNumberField(_Refusing, forms.IntegerField):
    def __init__(self, *, max_value: int, **options: Any) -> None:
        super().__init__(max_value=max_value, **options)
        self.takes = f"a whole number from 1 to {max_value:,}"


class _WholeNumberFilter(filters.NumberFilter):
    field_class = _WholeNumberField


def number_filter(help_text: str, largest: int = LARGEST_NUMBER) -> filters.NumberFilter:
    made = _WholeNumberFilter(method="same", min_value=1, max_value=largest, help_text=help_text)
    return _described(made, {"type": "integer", "minimum": 1, "maximum": largest, "description": help_text})


class _BooleanField(forms.NullBooleanField):
    """Django's own takes what is neither true nor false for nothing, and so would answer the whole list."""

    def to_python(self, value: Any) -> Any:
        if value in (None, ""):
            return None
        known = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
        if known is None:
            raise _refusal(value, "neither true nor false")
        return known


class _BooleanFilter(filters.BooleanFilter):
    field_class = _BooleanField


def boolean_filter(help_text: str) -> filters.BooleanFilter:
    return _BooleanFilter(method="same", widget=forms.TextInput, help_text=help_text)


class _TimeField(_Refusing, IsoDateTimeField):
    takes = "a time in ISO 8601, such as 2026-03-02T09:00:00Z"

    def to_python(self, value: Any) -> Any:
        moment = super().to_python(value)
        # At the ends of the calendar, another time zone's year is one that Postgres does not have.
        if moment is not None and not 1 < moment.year < 9999:
            raise forms.ValidationError("no such time")
        return moment


class TimeFilter(filters.IsoDateTimeFilter):
    field_class = _TimeField


def time_filter(help_text: str = "ISO 8601.") -> filters.IsoDateTimeFilter:
    return TimeFilter(method="same", help_text=help_text)


# --- Views ------------------------------------------------------------------------------------------------------------


class RowsView(ApiView):
    """A list, and what is added to it."""

    filter_backends = (filters.DjangoFilterBackend,)
    pagination_class: Any = NewestRowsFirst

    def page(self, shown: Any) -> Any:
        """Answer with a page, shown by a serializer."""
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(shown(rows, many=True, context={"request": self.request}).data)


class RowView(ApiView):
    """One row, and what is done to it."""

    pagination_class: Any = None


def given(request: Request) -> dict[str, Any]:
    """The body, whose values the service checks. Raises ValidationError for what is no object."""
    if not isinstance(request.data, Mapping):
        raise ValidationError({"non_field_errors": ["must be an object"]})
    return {str(name): value for name, value in request.data.items()}


@contextmanager
def refusals() -> Iterator[None]:
    """Settings that are refused, as errors of the fields that they are about."""
    try:
        yield
    except SettingsRefused as exc:
        raise ValidationError({name: [text] for name, text in exc.errors.items()}) from None
