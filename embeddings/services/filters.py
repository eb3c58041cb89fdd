"""Filters on documents' metadata: {"language": "de", "year": {"gte": 2020}, "author.name": {"in": ["Ann", "Bob"]}}."""

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from embeddings.services.items import shown

MAX_CONDITIONS = 20
MAX_VALUES = 1_000
MAX_DEPTH = 8
MAX_BYTES = 32_768
#: So few values are asked for one by one, each by the index on metadata.
FEW_VALUES = 20
COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
OPERATORS = ("eq", "ne", "in", "not_in", *COMPARISONS, "prefix", "exists")

#: An SQL condition on a document `d`, and its parameters.
Condition = tuple[str, list[Any]]


class FilterRefused(ValueError):
    """A filter that cannot be; the message names the part and the remedy."""


def condition(filters: Any) -> Condition:
    """The SQL of a filter. None and {}: no condition. Raises FilterRefused.

    A key names a member of the metadata; dots go deeper ("a.b"), a backslash before a dot makes it part of the name.
    A plain value must be equal to the member, or be in it if that is a list.
    """
    if filters is None:
        return "TRUE", []
    if not isinstance(filters, Mapping):
        raise FilterRefused(f'it is {shown(filters)}; it takes an object, such as {{"language": "de"}}')
    _check_size(filters)
    parts: list[str] = []
    parameters: list[Any] = []
    for key, wanted in filters.items():
        path = _path(key)
        operators = wanted if isinstance(wanted, Mapping) else {"eq": wanted}
        if not operators:
            raise FilterRefused(f"{shown(key)} has no operator; choose from: {', '.join(OPERATORS)}")
        for operator, value in operators.items():
            sql, values = _one(path, operator, value)
            parts.append(f"({sql})")
            parameters += values
    if len(parts) > MAX_CONDITIONS:
        raise FilterRefused(f"it has {len(parts)} conditions; it takes up to {MAX_CONDITIONS}")
    return " AND ".join(parts) or "TRUE", parameters


def _check_size(filters: Mapping[Any, Any]) -> None:
    _check_value(filters, 1)
    size = len(json.dumps(filters, ensure_ascii=False, allow_nan=False).encode())
    if size > MAX_BYTES:
        raise FilterRefused(f"it takes {size:,} bytes as JSON; it takes up to {MAX_BYTES:,}")


def _check_value(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise FilterRefused(f"it is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for key, member in value.items():
            if not isinstance(key, str):
                raise FilterRefused(f"the key {shown(key)} is no text")
            _check_value(key, depth)
            _check_value(member, depth + 1)
    elif isinstance(value, list | tuple):
        for member in value:
            _check_value(member, depth + 1)
    elif isinstance(value, str):
        if "\x00" in value or re.search("[\ud800-\udfff]", value):
            raise FilterRefused(f"{shown(value)} has a character that Postgres cannot keep; remove it")
    elif isinstance(value, float) and not math.isfinite(value):
        raise FilterRefused(f"{value!r} is not JSON; use null or a number")
    elif isinstance(value, int) and abs(value) >= 10**300:
        raise FilterRefused("a number has more than 300 digits")
    elif value is not None and not isinstance(value, int | float):
        raise FilterRefused(f"{shown(value)} is not JSON")


def _path(key: str) -> list[str]:
    path = [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", key)]
    if not all(path) or len(path) > MAX_DEPTH:
        raise FilterRefused(f"the key {shown(key)} is none; write name, or name.inner for what lies deeper")
    return path


def _one(path: list[str], operator: str, value: Any) -> Condition:
    if operator in ("eq", "ne"):
        sql, values = _equal(path, value)
        return (sql, values) if operator == "eq" else (f"NOT ({sql})", values)
    if operator in ("in", "not_in"):
        sql, values = _among(path, operator, value)
        return (sql, values) if operator == "in" else (f"NOT ({sql})", values)
    if operator in COMPARISONS:
        return _compared(path, operator, value)
    if operator == "prefix":
        if not isinstance(value, str):
            raise FilterRefused(f"{_name(path)}: prefix is {shown(value)}; it takes a text")
        kind = "jsonb_typeof(d.metadata #> %s::text[]) = 'string'"
        return f"{kind} AND starts_with(d.metadata #>> %s::text[], %s)", [path, path, value]
    if operator == "exists":
        if not isinstance(value, bool):
            raise FilterRefused(f"{_name(path)}: exists is {shown(value)}; it takes true or false")
        return f"(d.metadata #> %s::text[]) IS {'NOT ' if value else ''}NULL", [path]
    choices = ", ".join(OPERATORS)
    raise FilterRefused(
        f"{_name(path)}: unknown operator {shown(operator)}; choose from: {choices}; "
        'an object to be equal to goes in {"eq": {…}}'
    )


def _equal(path: list[str], value: Any) -> Condition:
    if isinstance(value, Mapping | list | tuple):
        # Containment, which the index serves, and then exactly this.
        return "d.metadata @> %s::jsonb AND d.metadata #> %s::text[] = %s::jsonb", [
            *(_nested(path, value), path, json.dumps(value)),
        ]
    return "d.metadata @> %s::jsonb OR d.metadata @> %s::jsonb", [_nested(path, value), _nested(path, [value])]


def _among(path: list[str], operator: str, values: Any) -> Condition:
    if not isinstance(values, list | tuple) or len(values) > MAX_VALUES:
        raise FilterRefused(
            f"{_name(path)}: {operator} is {shown(values)}; it takes a list of up to {MAX_VALUES:,} values"
        )
    if len(values) <= FEW_VALUES:
        found = [_equal(path, value) for value in values]
        return " OR ".join(f"({sql})" for sql, _ in found) or "FALSE", [one for _, given in found for one in given]
    wanted = [_nested(path, one) for one in values] + [_nested(path, [one]) for one in values]
    return "d.metadata @> ANY (%s::jsonb[])", [wanted]


def _compared(path: list[str], operator: str, value: Any) -> Condition:
    """Numbers with numbers, texts with texts by their characters, as suits times of ISO 8601; others do not match."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FilterRefused(f"{_name(path)}: {operator} is {shown(value)}; it takes a number or a text")
    sign = COMPARISONS[operator]
    if isinstance(value, str):
        kind, compared, parameter = "string", f'(d.metadata #>> %s::text[]) COLLATE "C" {sign} %s', value
    else:
        kind, compared = "number", f"(d.metadata #>> %s::text[])::numeric {sign} %s::numeric"
        parameter = str(Decimal(str(value)))
    sql = f"CASE WHEN jsonb_typeof(d.metadata #> %s::text[]) = '{kind}' THEN {compared} ELSE FALSE END"
    return sql, [path, path, parameter]


def _nested(path: list[str], value: Any) -> str:
    for part in reversed(path):
        value = {part: value}
    return json.dumps(value)


def _name(path: list[str]) -> str:
    return shown(".".join(path))
