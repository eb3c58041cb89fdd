"""Dates, times, texts and zones of calendars."""

import re
from datetime import date, datetime, time

from reminders import clocks
from reminders.calendar.items import ItemRefused
from reminders.calendar.lines import Component, Line
from reminders.calendar.zones import known_zone, zone_of_definition

FIRST_YEAR, LAST_YEAR = 1900, 2999
_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)?(Z?))?", re.ASCII | re.IGNORECASE)
_ENTRY = re.compile(r"(?:\\.|[^,\\]|\\$)+", re.DOTALL)
#: Control characters are none of a text's; a tab and line ends are.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def text_of(line: Line | None) -> str:
    """A text without its escapes."""
    return "" if line is None else _unescaped(line.value).strip()


def words_of(line: Line | None) -> str:
    """A text on one line, as titles and names are."""
    return " ".join(piece.strip() for piece in text_of(line).splitlines() if piece.strip())


def texts_of(line: Line) -> list[str]:
    """A list of names: a comma parts them, unless it is escaped."""
    return [" ".join(_unescaped(piece).split()) for piece in _ENTRY.findall(line.value)]


def _unescaped(text: str) -> str:
    return _CONTROLS.sub("", _ESCAPE.sub(lambda match: "\n" if match[1] in "nN" else match[1], text))


def day_or_moment(line: Line, zones: "Zones") -> tuple[date, time | None, str]:
    """A date, its time if it has one, and the zone that they are of. Raises ItemRefused."""
    match = _MOMENT.fullmatch(line.value.strip())
    try:
        if match is None:
            raise ValueError(line.value)
        year, month, day = (int(part) for part in match.groups()[:3])
        if not FIRST_YEAR <= year <= LAST_YEAR:
            raise ValueError(line.value)
        found = date(year, month, day)
        clock = None
        if match[4] is not None and line.params.get("VALUE", "").upper() != "DATE":
            # A leap second is taken for the one before it.
            clock = time(int(match[4]), int(match[5]), min(int(match[6] or 0), 59))
    except ValueError:
        raise ItemRefused(
            f"{line.name} is {line.value[:40]!r}, which is no date of the years {FIRST_YEAR} to {LAST_YEAR}",
            f"write one such as {line.name}:20260301T090000Z",
        ) from None
    if clock is None:
        return found, None, zones.own
    if match[7]:
        return found, clock, "UTC"
    return found, clock, zones.named(line.params["TZID"], found.year) if "TZID" in line.params else zones.own


def utc_moment(line: Line | None, zones: "Zones") -> datetime | None:
    """A moment, such as that of COMPLETED, in UTC; None if there is none that can be read."""
    if line is None:
        return None
    try:
        day, clock, zone = day_or_moment(line, zones)
    except ItemRefused:
        return None
    return clocks.instant(datetime.combine(day, clock or time()), zone)


class Zones:
    """Finds the zone of the tz database that a calendar means. own: that of floating times."""

    def __init__(self, own: str, definitions: list[Component]) -> None:
        self.own = own
        self._defined = {text_of(one.first("TZID")): one for one in definitions}
        self._found: dict[tuple[str, int], str] = {}

    def named(self, tzid: str, year: int) -> str:
        """Raises ItemRefused for one that is not known for certain."""
        key = (tzid, year)
        if key not in self._found:
            self._found[key] = self._find(tzid.strip().strip('"'), year)
        return self._found[key]

    def _find(self, tzid: str, year: int) -> str:
        known = known_zone(tzid)
        if known:
            return known
        definition = self._defined.get(tzid)
        found = zone_of_definition(definition, self.own, year) if definition is not None else ""
        if found:
            return found
        told = "the file does not define it" if definition is None else "its clock changes are of no zone for certain"
        raise ItemRefused(
            f"TZID {tzid[:60]!r} is no time zone that is known, and {told}",
            "write one of the tz database, such as TZID=Europe/Berlin, or give the time in UTC",
        )
