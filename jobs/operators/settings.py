"""What operators set of a row: each value is checked by its column, and by rules of its own, before it is stored."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models

from jobs.operators.search import is_storable
from jobs.secrets import Secret, SecretField

MAX_TEXT = 20_000
MAX_ENTRIES = 200
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_CLOCK = re.compile(r"\d\d:\d\d(:\d\d)?", re.ASCII)

Rule = Callable[[Any], str]


class SettingsRefused(ValueError):
    """Values that cannot be stored. errors: setting → what is wrong with it, and what it takes."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


class _Wrong(ValueError):
    """What is wrong with one value."""


@dataclass(frozen=True)
class Settings:
    """names: what may be set, in the order to show it. rules: further demands; each says what is wrong, or nothing."""

    model: type[models.Model]
    names: Sequence[str]
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values as the columns hold them. Raises SettingsRefused, naming all that is wrong."""
        values: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for name, value in given.items():
            if name not in self.names:
                errors[str(name)[:100]] = f"unknown setting; choose from: {', '.join(self.names)}"
                continue
            try:
                values[name] = self._read(name, value)
            except _Wrong as exc:
                errors[name] = str(exc)
        if errors:
            raise SettingsRefused(errors)
        return values

    def _read(self, name: str, value: Any) -> Any:
        column: Any = self.model._meta.get_field(name)
        if isinstance(column, models.ForeignKey):
            problem = self.rules[name](value)
            if problem:
                raise _Wrong(problem)
            return value
        value = _typed(column, value)
        try:
            value = column.clean(value, None)
        except ValidationError as exc:
            raise _Wrong(_words(column, value, exc)) from None
        problem = self.rules[name](value) if name in self.rules else ""
        if problem:
            raise _Wrong(problem)
        return value


def apply(row: models.Model, values: Mapping[str, Any]) -> dict[str, Any]:
    """Set them on the row, without saving it; for the audit log, what changed: name → [before, after].

    Of a secret only that it was set or taken away.
    """
    changed: dict[str, Any] = {}
    for name, value in values.items():
        before = getattr(row, name)
        setattr(row, name, value)
        if isinstance(row._meta.get_field(name), SecretField):
            if Secret(str(value)) != before:
                changed[name] = ["set" if before else "", "set" if value else ""]
        elif before != value:
            changed[name] = [_kept(before), _kept(value)]
    return changed


def shown(value: Any) -> str:
    return repr(value)[:80]


def _kept(value: Any) -> Any:
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | models.Model) else value


def _typed(column: Any, value: Any) -> Any:
    """The value, if it is of the column's kind and nothing that could pass for it. Raises _Wrong."""
    if value is None or (value == "" and isinstance(column, _TIMES)):
        if column.null:
            return None
        if value == "":
            raise _Wrong("is empty; leave it out to keep it")
        raise _Wrong("is null; leave it out to keep it")
    for kinds, read in _KINDS:
        if isinstance(column, kinds):
            return read(column, value)
    return value  # JSON, by a rule of its own


def _boolean(column: Any, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"is {shown(value)}; it takes true or false")
    return value


def _whole(column: Any, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Wrong(f"is {shown(value)}; it takes a whole number")
    return value


def _number(column: Any, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e12:
        raise _Wrong(f"is {shown(value)}; it takes a number")
    return float(value)


def _decimal(column: Any, value: Any) -> Decimal:
    try:
        read = Decimal(str(value)[:40]) if isinstance(value, int | float | str | Decimal) else Decimal("NaN")
    except InvalidOperation:
        read = Decimal("NaN")
    if isinstance(value, bool) or not read.is_finite() or read < 0:
        raise _Wrong(f"is {shown(value)}; it takes a number of dollars, 0 or more, such as 2.50")
    return read


def _text(column: Any, value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"is {shown(value)}; it takes a text")
    if not is_storable(value):
        raise _Wrong("has characters that cannot be stored, such as NUL; leave them out")
    if len(value) > MAX_TEXT:
        raise _Wrong(f"has {len(value):,} characters; it takes up to {MAX_TEXT:,}")
    return value if isinstance(column, SecretField) else value.strip()


def _texts(column: Any, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise _Wrong(f'is {shown(value)}; it takes a list of texts, such as ["a", "b"]')
    if len(value) > MAX_ENTRIES:
        raise _Wrong(f"has {len(value):,} entries; it takes up to {MAX_ENTRIES}")
    texts = [_text(column.base_field, entry) for entry in value]
    if "" in texts:
        raise _Wrong("has an empty entry; leave it out")
    return list(dict.fromkeys(texts))


def _date(column: Any, value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise _Wrong(f"is {shown(value)}; it takes a date, such as 2027-01-31")


def _clock(column: Any, value: Any) -> time:
    """Of the clock on the wall, to the second: without a zone."""
    try:
        read = time.fromisoformat(value) if isinstance(value, str) and _CLOCK.fullmatch(value) else value
    except ValueError:
        read = None
    if not isinstance(read, time) or read.tzinfo is not None:
        raise _Wrong(f"is {shown(value)}; it takes a time of the clock, such as 09:00")
    return read.replace(microsecond=0)


def _moment(column: Any, value: Any) -> datetime:
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) and len(value) < 40 else value
    except ValueError:
        read = None
    # At the ends of the calendar, another time zone's year is one that Python does not have.
    if not isinstance(read, datetime) or read.tzinfo is None or not 1 < read.year < 9999:
        raise _Wrong(f"is {shown(value)}; it takes a time with its zone, such as 2027-01-31T09:00:00Z")
    return read


_TIMES = (models.DateField, models.TimeField)

#: The kinds of columns, the narrower first.
_KINDS: tuple[tuple[Any, Callable[[Any, Any], Any]], ...] = (
    (models.BooleanField, _boolean),
    (models.IntegerField, _whole),
    (models.FloatField, _number),
    (models.DecimalField, _decimal),
    (models.DateTimeField, _moment),
    (models.DateField, _date),
    (models.TimeField, _clock),
    (ArrayField, _texts),
    ((models.CharField, models.TextField), _text),
)


def _words(column: Any, value: Any, exc: ValidationError) -> str:
    if isinstance(column, SecretField):
        return " ".join(exc.messages)
    choices = getattr(column, "choices", None)
    if choices and value not in [name for name, _ in choices]:
        return f"is {shown(value)}; choose from: {', '.join(str(name) for name, _ in choices)}"
    return f"is {shown(value)}: {' '.join(exc.messages)}"
