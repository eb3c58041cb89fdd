"""JSON from outside, held to the standard and to what Postgres can keep."""

import json
import math
from typing import Any

MAX_DEPTH = 100


class NotJson(ValueError):
    """The text is not JSON that can be kept; the message says where and why."""


def loads(text: str | bytes, *, mend: bool = True) -> Any:
    """Decode one JSON text. Raises NotJson.

    Refused: bytes that are not UTF-8, NaN and Infinity (written out, or a number too large), and more than 100
    levels of nesting. Half of a surrogate pair, which no UTF-8 has, and NUL, which Postgres
    does not keep, become U+FFFD; without `mend` they stay, for callers that refuse them by name.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError as exc:
        raise NotJson(f"byte {exc.start} is not UTF-8") from None
    except json.JSONDecodeError as exc:
        raise NotJson(f"{exc.msg} at line {exc.lineno}, column {exc.colno}") from None
    except RecursionError:
        raise NotJson(_too_deep()) from None
    except NotJson:
        raise
    except ValueError:  # Python's limit on the digits of a whole number
        raise NotJson("a number has too many digits") from None
    return _checked(value, 1, mend)


def _checked(value: Any, depth: int, mend: bool) -> Any:
    if depth > MAX_DEPTH:
        raise NotJson(_too_deep())
    if isinstance(value, str) and mend:
        value = value.replace("\x00", "\ufffd")
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if _has_surrogate(value) else value
    if isinstance(value, list):
        return [_checked(item, depth + 1, mend) for item in value]
    if isinstance(value, dict):
        return {_checked(key, depth, mend): _checked(item, depth + 1, mend) for key, item in value.items()}
    return value


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _refuse(constant: str) -> Any:
    raise NotJson(f"{constant} is not JSON; use null or a string")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJson(f"the number {text[:40]} is too large")
    return number


def _too_deep() -> str:
    return f"it is nested more than {MAX_DEPTH} levels deep"
