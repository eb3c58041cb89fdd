"""Local times, instants and durations: what RFC 5545 says of days, hours and clock changes.

A day is a day of the clock, an hour is exact: a day before 09:00 is 09:00, whatever the clock did meanwhile; 24 hours
before may be 08:00 or 10:00. A local time that the clock skipped is taken with the offset before the change, so 02:30
becomes 03:30; of one that comes twice, the first is meant (RFC 5545, 3.3.5 and 3.3.6).
"""

import functools
import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

_DURATION = re.compile(
    r"(?P<sign>[+-])?P(?:(?P<weeks>\d{1,4})W|"
    r"(?:(?P<days>\d{1,5})D)?(?:T(?=\d)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,7})M)?(?:(?P<seconds>\d{1,8})S)?)?)",
    re.ASCII,
)
#: Longer than this, a reminder is a mistake.
LONGEST_DAYS = 3660


class BadDuration(ValueError):
    """A text that is no duration of RFC 5545; the message says how it is written."""


@dataclass(frozen=True)
class Duration:
    """days: nominal, added on the local clock first. seconds: exact, added to the instant. Both of one sign."""

    days: int = 0
    seconds: int = 0

    def __str__(self) -> str:
        sign = "-" if self.days < 0 or self.seconds < 0 else ""
        days, rest = abs(self.days), abs(self.seconds)
        hours, rest = divmod(rest, 3600)
        minutes, seconds = divmod(rest, 60)
        clock = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if count)
        if not days and not clock:
            return "PT0S"
        return f"{sign}P{f'{days}D' if days else ''}{f'T{clock}' if clock else ''}"


def parse_duration(text: str) -> Duration:
    """A duration such as -PT15M, -P1D, P1W or PT0S. Raises BadDuration."""
    match = _DURATION.fullmatch(text)
    if match is None or text.lstrip("+-") in ("P", "PT"):
        raise BadDuration(f"{text[:40]!r} is no duration; write one such as -PT15M, -P1D, P1W or PT0S")
    parts = {name: int(value) for name, value in match.groupdict().items() if name != "sign" and value}
    sign = -1 if match["sign"] == "-" else 1
    days = parts.get("weeks", 0) * 7 + parts.get("days", 0)
    seconds = parts.get("hours", 0) * 3600 + parts.get("minutes", 0) * 60 + parts.get("seconds", 0)
    if days + seconds // 86400 > LONGEST_DAYS:
        raise BadDuration(f"{text[:40]!r} is longer than {LONGEST_DAYS} days; write a shorter one")
    return Duration(sign * days, sign * seconds)


# The names of all zones are read from a file each, which takes tens of milliseconds.
@functools.lru_cache(maxsize=1024)
def usable_zone(name: str) -> str:
    """A zone that the tz database has dropped stops nobody's reminders."""
    return name if name in zoneinfo.available_timezones() else "UTC"


def instant(local: datetime, zone: str) -> datetime:
    """The instant, in UTC, of a naive local time in a zone of the tz database."""
    return local.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=0).astimezone(UTC)


def local(moment: datetime, zone: str) -> datetime:
    """The clock's time, naive, in a zone at an instant."""
    return moment.astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def shifted(start: datetime, zone: str, duration: Duration) -> datetime:
    """The instant, in UTC, that lies a duration after a naive local time (before it, if negative)."""
    return instant(start + timedelta(days=duration.days), zone) + timedelta(seconds=duration.seconds)


def end_of_day(day: date, zone: str) -> datetime:
    """The instant at which a day of the clock is over: when what is due on it becomes overdue."""
    return instant(datetime.combine(day + timedelta(days=1), time()), zone)


@dataclass(frozen=True)
class QuietHours:
    """From one time of the clock until another, perhaps on the next day. Equal times: never quiet."""

    begins: time
    ends: time

    def until(self, moment: datetime, zone: str) -> datetime | None:
        """When the quiet hours end that an instant lies in; None if it lies in none."""
        clock = local(moment, zone)
        inside = (
            self.begins <= clock.time() < self.ends
            if self.begins <= self.ends
            else (clock.time() >= self.begins or clock.time() < self.ends)
        )
        if not inside or self.begins == self.ends:
            return None
        ends = datetime.combine(clock.date() + timedelta(days=clock.time() >= self.ends), self.ends)
        zone_info = zoneinfo.ZoneInfo(zone)
        end = ends.replace(tzinfo=zone_info, fold=0).astimezone(UTC)
        if end <= moment:
            # In the second of two hours of one name: its end comes again.
            end = ends.replace(tzinfo=zone_info, fold=1).astimezone(UTC)
        if local(end, zone) != ends:
            # The clock skips the end: the quiet hours are over when it has, unless they go on there.
            end = _clock_change(moment, end, zone)
            return self.until(end, zone) or end
        return end


def _clock_change(begin: datetime, end: datetime, zone: str) -> datetime:
    """The first whole second, in UTC, at which the clock has another offset than at the beginning; one lies between."""
    zone_info = zoneinfo.ZoneInfo(zone)
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    offset = begin.astimezone(zone_info).utcoffset()
    before, after = int(begin.timestamp()), int(end.timestamp())
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone_info).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return datetime.fromtimestamp(after, UTC)
