"""Rules, repetition and times in plain words."""

from datetime import date, timedelta
from typing import Any

from reminders.clocks import BadDuration, Duration, parse_duration
from reminders.models import Anchor, Audience, ReminderRule

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_DAYS = {
    "MO": "Monday",
    "TU": "Tuesday",
    "WE": "Wednesday",
    "TH": "Thursday",
    "FR": "Friday",
    "SA": "Saturday",
    "SU": "Sunday",
}
WEEKDAYS = tuple(_DAYS.items())
_UNIT_OF = {"DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year"}
_WHO = {Audience.ASSIGNEES: "whoever does it", Audience.WATCHERS: "its watchers", Audience.EVERYONE: "everybody on it"}


def offset_words(text: str, anchor: str = Anchor.DUE) -> str:
    """Such as "15 minutes before it is due"."""
    try:
        duration = parse_duration(text)
    except BadDuration:
        return text
    moment = "it is due" if anchor == Anchor.DUE else "it starts"
    if duration == Duration():
        return f"when {moment}"
    length = duration_words(duration)
    return f"{length} {'before' if duration.days < 0 or duration.seconds < 0 else 'after'} {moment}"


def duration_words(duration: Duration) -> str:
    days, seconds = abs(duration.days), abs(duration.seconds)
    parts = []
    if days and days % 7 == 0:
        parts.append(_counted(days // 7, "week"))
        days = 0
    rest = seconds
    for size, unit in _UNITS:
        count, rest = (days, rest) if unit == "day" else divmod(rest, size)
        if count:
            parts.append(_counted(count, unit))
    return " and ".join(parts) or "no time"


def rule_words(rule: ReminderRule) -> str:
    if rule.at_date is not None and rule.at_time is not None:
        return f"on {rule.at_date:%-d %b %Y} at {rule.at_time:%H:%M} ({rule.time_zone})"
    return offset_words(rule.offset, rule.anchor)


def audience_words(rule: ReminderRule) -> str:
    if rule.person is not None:
        return str(rule.person.get_username())
    return _WHO[Audience(rule.audience)]


def kind_words(kind: str, rule: ReminderRule | None) -> str:
    """Of a planned or a fired reminder."""
    if rule is not None:
        return rule_words(rule)
    if kind.startswith("snooze:"):
        return "snoozed until then"
    return {"overdue:0": "when it is due", "overdue:1": "a day overdue", "overdue:2": "three days overdue"}.get(
        kind, "a rule that is gone"
    )


def repeat_words(rrule: str, repeat_from: str = "due") -> str:
    """Of a rule of repetition: in words where it is a usual one, else as it is."""
    if not rrule:
        return ""
    parts = dict(part.partition("=")[::2] for part in rrule.upper().split(";"))
    unit = _UNIT_OF.get(parts.pop("FREQ", ""), "")
    interval = parts.pop("INTERVAL", "1")
    parts.pop("WKST", None)
    said = _particulars(parts)
    if not unit or said is None or not interval.isdecimal():
        return rrule
    every = f"every {unit}" if interval == "1" else f"every {interval} {unit}s"
    return f"{every}{said}{', counted from when it was done' if repeat_from == 'completion' else ''}"


def _particulars(parts: dict[str, str]) -> str | None:
    """None for what there are no plain words for."""
    said = ""
    for name, value in parts.items():
        if name == "BYDAY" and all(day in _DAYS for day in value.split(",")):
            days = value.split(",")
            said += " from Monday to Friday" if days == list(_DAYS)[:5] else f" on {_listed([_DAYS[d] for d in days])}"
        elif name == "BYMONTHDAY" and value == "-1":
            said += " on the last day"
        elif name == "BYMONTHDAY" and value.isdecimal():
            said += f" on the {_ordinal(int(value))}"
        elif name == "COUNT" and value.isdecimal():
            said += f", {_counted(int(value), 'time')} in all"
        elif name == "UNTIL" and value[:8].isdecimal() and len(value) >= 8:
            said += f", until {value[:4]}-{value[4:6]}-{value[6:8]}"
        else:
            return None
    return said


def day_words(day: date, today: date) -> str:
    """A heading such as "Tomorrow, Tuesday 24 November"."""
    text = f"{day:%A %-d %B}" if day.year == today.year else f"{day:%A %-d %B %Y}"
    near = {today: "Today, ", today + timedelta(days=1): "Tomorrow, ", today - timedelta(days=1): "Yesterday, "}
    return near.get(day, "") + text


def refusal_words(text: str) -> str:
    """What a service says of a setting, as a sentence beside its field."""
    if text.startswith(("is ", "has ", "needs ")):
        text = f"This {text}"
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def skipped_words(count: int) -> str:
    """Of a series that was gone on with late."""
    return f"{_counted(count, 'date')} that had passed {'was' if count == 1 else 'were'} skipped"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _listed(words: list[Any]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
