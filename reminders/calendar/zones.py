"""Zones that a calendar defines itself: which one of the tz database is meant, where that is certain."""

import functools
import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from reminders import clocks, recurrence
from reminders.calendar.lines import Component

_WINDOWS = {name.lower(): zone for name, zone in WINDOWS_TO_OLSON.items()}
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)(?:\d\d)?", re.ASCII)
_LOCAL = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", re.ASCII)
#: Past and coming years in which the definition has to agree with the zone.
YEARS = range(-1, 5)
MOST_PARTS = 50


@dataclass(frozen=True)
class _Part:
    """One STANDARD or DAYLIGHT. begins: naive, on the clock before. rule: by which it comes each year, or None."""

    begins: datetime
    before: timedelta
    after: timedelta
    rule: recurrence.Rule | None


@functools.lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return {name.lower(): name for name in zoneinfo.available_timezones()}


def known_zone(tzid: str) -> str:
    """The zone of a name: of the tz database, of Windows, or of the tz database after a maker's prefix; "" if none."""
    wanted = tzid.lower()
    if wanted in {"utc", "gmt", "z", "etc/utc", "etc/gmt"}:
        return "UTC"
    if wanted in _WINDOWS:
        return _WINDOWS[wanted]
    if wanted.startswith("/") or "tzfile/" in wanted:
        parts = wanted.strip("/").split("/")
        for start in range(min(len(parts), 8)):
            found = _names().get("/".join(parts[start:]))
            if found:
                return found
    return _names().get(wanted, "")


def zone_of_definition(definition: Component, own: str, year: int) -> str:
    """The zone that a VTIMEZONE means around a year; "" if that is not certain.

    It is the one that it names, a fixed offset, or the reader's own, if that has the same clock in these years.
    """
    for name in ("X-LIC-LOCATION", "TZURL", "TZID-ALIAS-OF"):
        line = definition.first(name)
        found = known_zone(line.value.strip().removeprefix("http:/").removesuffix(".ics")) if line is not None else ""
        if found:
            return found
    try:
        parts = [_part(child) for child in definition.children[:MOST_PARTS]]
    except (ValueError, OverflowError):
        return ""
    if not parts:
        return ""
    offsets = {part.after for part in parts}
    if len(offsets) == 1:
        return _fixed(offsets.pop())
    return own if _agrees(parts, own, year) else ""


def _fixed(offset: timedelta) -> str:
    hours, rest = divmod(int(offset.total_seconds()), 3600)
    if rest or not -12 <= hours <= 14:
        return ""
    # The signs of these names are the other way round.
    return f"Etc/GMT{-hours:+d}" if hours else "UTC"


def _part(component: Component) -> _Part:
    """Raises ValueError."""
    texts = {line.name: line.value.strip().upper() for line in component.lines}
    match = _LOCAL.fullmatch(texts.get("DTSTART", ""))
    if match is None or "RDATE" in texts:
        raise ValueError(component.name)
    begins = datetime(*(int(part) for part in match.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
    rule = recurrence.parse(texts["RRULE"]) if "RRULE" in texts else None
    return _Part(begins, _offset(texts.get("TZOFFSETFROM", "")), _offset(texts.get("TZOFFSETTO", "")), rule)


def _offset(text: str) -> timedelta:
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise ValueError(text)
    length = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -length if match[1] == "-" else length


def _agrees(parts: list[_Part], zone: str, year: int) -> bool:
    """Whether the clock of the zone changes just when the parts say, and never else."""
    changes: dict[datetime, timedelta] = {}
    for part in parts:
        for each in YEARS:
            begins = _onset(part, year + each)
            if begins is not None:
                changes[(begins - part.before).replace(tzinfo=UTC)] = part.after
    if not changes:
        return False
    # Three hours around each change, and each week between them.
    probes = {at + timedelta(hours=hours) for at in changes for hours in (-3, -1, 0, 1, 3)}
    first, last = min(changes), max(changes)
    probes |= {first + timedelta(weeks=week) for week in range((last - first).days // 7)}
    ordered = sorted(changes)
    for probe in probes:
        earlier = [at for at in ordered if at <= probe]
        if earlier and clocks.local(probe, zone) - probe.replace(tzinfo=None) != changes[earlier[-1]]:
            return False
    return True


def _onset(part: _Part, year: int) -> datetime | None:
    if part.rule is None:
        return part.begins if part.begins.year == year else None
    if part.begins.year > year or (part.rule.until and part.rule.until.year < year):
        return None
    if part.begins.year == year:
        return part.begins
    after = part.begins.replace(year=year, month=1, day=1).date() - timedelta(days=1)
    day = next(recurrence.dates(part.rule, part.begins.date(), after), None)
    if day is None or day.year != year:
        return None
    return datetime.combine(day, part.begins.time())
