"""Repetition between the plain choices of a form and a rule of RFC 5545."""

from collections.abc import Mapping
from typing import Any

from reminders.wording import WEEKDAYS

CHOICES = (
    ("", "Not at all"),
    ("daily", "By days"),
    ("workdays", "From Monday to Friday"),
    ("weekly", "By weeks"),
    ("monthly", "By months"),
    ("yearly", "By years"),
    ("own", "By a rule of my own"),
)
_FREQUENCY = {"daily": "DAILY", "weekly": "WEEKLY", "monthly": "MONTHLY", "yearly": "YEARLY"}
_PLAIN = {value: name for name, value in _FREQUENCY.items()}
_WORKDAYS = ",".join(day for day, _ in WEEKDAYS[:5])
_KNOWN = {day for day, _ in WEEKDAYS}
LONGEST_INTERVAL = 999
#: By months: what the form offers; -1 is the last.
MONTH_DAYS = (*range(1, 32), -1)


def to_rule(chosen: Mapping[str, Any]) -> str:
    """chosen: repeat, interval, weekdays, month_day and rrule, as the form has read them."""
    repeat = chosen.get("repeat") or ""
    if repeat in ("", "own"):
        return str(chosen.get("rrule") or "").strip() if repeat else ""
    if repeat == "workdays":
        return f"FREQ=WEEKLY;BYDAY={_WORKDAYS}"
    parts = [f"FREQ={_FREQUENCY[repeat]}"]
    if (chosen.get("interval") or 1) != 1:
        parts.append(f"INTERVAL={chosen['interval']}")
    if repeat == "weekly" and chosen.get("weekdays"):
        wanted = set(chosen["weekdays"])
        parts.append(f"BYDAY={','.join(day for day, _ in WEEKDAYS if day in wanted)}")
    if repeat == "monthly" and chosen.get("month_day"):
        parts.append(f"BYMONTHDAY={chosen['month_day']}")
    return ";".join(parts)


def from_rule(rrule: str) -> dict[str, Any]:
    """What the form shows for a rule: the plain choices where they say all of it, else the rule itself."""
    if not rrule:
        return {"repeat": ""}
    own = {"repeat": "own", "rrule": rrule}
    parts = dict(part.partition("=")[::2] for part in rrule.upper().split(";"))
    repeat = _PLAIN.get(parts.pop("FREQ", ""), "")
    interval = parts.pop("INTERVAL", "1")
    if not repeat or not interval.isdecimal() or int(interval) > LONGEST_INTERVAL:
        return own
    if repeat == "weekly" and parts == {"BYDAY": _WORKDAYS} and interval == "1":
        return {"repeat": "workdays"}
    plain: dict[str, Any] = {"repeat": repeat, "interval": int(interval)}
    if repeat == "weekly" and set(parts.get("BYDAY", "").split(",")) <= _KNOWN:
        plain["weekdays"] = parts.pop("BYDAY").split(",")
    if repeat == "monthly" and parts.get("BYMONTHDAY", "") in {str(day) for day in MONTH_DAYS}:
        plain["month_day"] = int(parts.pop("BYMONTHDAY"))
    return own if parts else plain
