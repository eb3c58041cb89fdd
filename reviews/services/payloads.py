"""Takes a webhook body apart: bytes → an event with its payload, or a refusal that says what is wrong with it."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

KEPT_BYTES = 256 * 1024
MAX_DEPTH = 60

_REPLACEMENTS = {0: "\ufffd", **dict.fromkeys(range(0xD800, 0xE000), "\ufffd")}


class PayloadRefused(ValueError):
    """The body is not a payload; the message says why."""


def parse_payload(body: bytes, content_type: str) -> dict[str, Any]:
    """Read a payload, sent as JSON or as the form field `payload`. Raises PayloadRefused."""
    if content_type == "application/x-www-form-urlencoded":
        body = _form_payload(body)
    try:
        payload = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise PayloadRefused("the JSON is nested too deeply") from None
    except ValueError as exc:
        raise PayloadRefused(f"the body is not JSON: {exc}"[:300]) from None
    if not isinstance(payload, dict):
        raise PayloadRefused(f"the payload is {_json_type(payload)}; an object was expected")
    return clean(payload, MAX_DEPTH) if len(body) <= KEPT_BYTES else payload


def _form_payload(body: bytes) -> bytes:
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=10)
        return fields["payload"][0].encode("utf-8", "surrogatepass")
    except (KeyError, ValueError):
        raise PayloadRefused("the form has no field `payload` that can be read") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _json_type(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "something else")


def clean(value: Any, depth: int) -> Any:
    """Replace what JSON may hold and Postgres may not: NUL and lone surrogates. Raises PayloadRefused below `depth`."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict | list) and depth == 0:
        raise PayloadRefused(f"the JSON is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        return {clean_text(key): clean(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, depth - 1) for item in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise PayloadRefused("a number in the JSON is too large")
    return value


def clean_text(text: str) -> str:
    return text if text.isascii() and "\0" not in text else text.translate(_REPLACEMENTS)


def outline(payload: Mapping[str, Any], size: int) -> dict[str, Any]:
    """What is kept of a payload that is too large to keep."""
    kept = {key: payload[key] for key in ("action", "number", "ref") if isinstance(payload.get(key), str | int)}
    names = {key: payload.get(key) for key in ("repository", "sender")}
    for key, value in names.items():
        if isinstance(value, dict):
            fields = {part: value.get(part) for part in ("id", "full_name", "login")}
            kept[key] = {part: found for part, found in fields.items() if isinstance(found, str | int)}
    try:
        return {**clean(kept, MAX_DEPTH), "not_kept_bytes": size}
    except PayloadRefused:
        return {"not_kept_bytes": size}
