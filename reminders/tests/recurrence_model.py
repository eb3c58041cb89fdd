"""Repetition once more, as slow and plain as it goes: every day is looked at, and nothing of dateutil is used."""

import calendar
from collections.abc import Iterator
from datetime import date, timedelta

WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


def model_dates(rrule: str, first: date, last: date) -> list[date]:
    """The dates of a rule from its first day to another one, by the words of RFC 5545, 3.3.10."""
    parts = dict(piece.split("=") for piece in rrule.split(";"))
    found: list[date] = []
    for number, period in enumerate(_periods(parts["FREQ"], first, last, parts.get("WKST", "MO"))):
        if number % int(parts.get("INTERVAL", 1)):
            continue
        fitting = [day for day in period if _fits(parts, day, first)]
        if "BYSETPOS" in parts:
            places = [int(text) for text in parts["BYSETPOS"].split(",")]
            chosen = {place - 1 if place > 0 else len(fitting) + place for place in places}
            fitting = [day for index, day in enumerate(fitting) if index in chosen]
        found += [day for day in fitting if first <= day <= last]
    if "UNTIL" in parts:
        found = [day for day in found if f"{day:%Y%m%d}" <= parts["UNTIL"]]
    return found[: int(parts["COUNT"])] if "COUNT" in parts else found


def _periods(freq: str, first: date, last: date, week_start: str) -> Iterator[list[date]]:
    """Days, weeks, months or years from the one that holds the first day."""
    current: list[date] = []
    day = {
        "DAILY": first,
        "WEEKLY": first - timedelta(days=(first.weekday() - WEEKDAYS.index(week_start)) % 7),
        "MONTHLY": first.replace(day=1),
        "YEARLY": first.replace(month=1, day=1),
    }[freq]
    while day <= last or current:
        current.append(day)
        day += timedelta(days=1)
        ended = {
            "DAILY": True,
            "WEEKLY": WEEKDAYS[day.weekday()] == week_start,
            "MONTHLY": day.day == 1,
            "YEARLY": (day.month, day.day) == (1, 1),
        }[freq]
        if ended:
            yield current
            current = []


def _fits(parts: dict[str, str], day: date, first: date) -> bool:
    freq = parts["FREQ"]
    months = [int(text) for text in parts["BYMONTH"].split(",")] if "BYMONTH" in parts else None
    if months is None and freq == "YEARLY" and not {"BYDAY", "BYMONTHDAY"} & parts.keys():
        months = [first.month]
    if months is not None and day.month not in months:
        return False
    length = calendar.monthrange(day.year, day.month)[1]
    if "BYMONTHDAY" in parts:
        wanted = [int(text) for text in parts["BYMONTHDAY"].split(",")]
        if day.day not in wanted and day.day - length - 1 not in wanted:
            return False
    elif "BYDAY" not in parts and freq in {"MONTHLY", "YEARLY"} and day.day != first.day:
        return False
    if "BYDAY" in parts:
        nth, from_end = (day.day - 1) // 7 + 1, -((length - day.day) // 7 + 1)
        names = {WEEKDAYS[day.weekday()], f"{nth}{WEEKDAYS[day.weekday()]}", f"{from_end}{WEEKDAYS[day.weekday()]}"}
        return bool(names & {text.lstrip("+") for text in parts["BYDAY"].split(",")})
    return not (freq == "WEEKLY" and day.weekday() != first.weekday())
