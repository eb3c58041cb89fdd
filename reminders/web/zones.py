"""Time zones to choose from without a script: by continent, each with its present distance from UTC."""

import functools
import zoneinfo
from datetime import datetime, timedelta

from reminders import moment

_CONTINENTS = (
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Europe",
    "Indian",
    "Pacific",
)
Groups = list[tuple[str, list[tuple[str, str]]]]


def choices(kept: str = "") -> Groups:
    """Groups for a select. kept: a zone that must be among them, such as the one that is set."""
    now = moment.now()
    groups = _groups(now.replace(minute=0, second=0, microsecond=0))
    if kept and all(kept != zone for _, zones in groups for zone, _ in zones):
        return [("As it is set", [(kept, kept)]), *groups]
    return groups


@functools.lru_cache(maxsize=1)
def _groups(now: datetime) -> Groups:
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in _CONTINENTS}
    for zone in sorted(zoneinfo.available_timezones()):
        continent, _, city = zone.partition("/")
        if continent in found:
            found[continent].append((zone, f"{city.replace('_', ' ').replace('/', ', ')} ({_distance(zone, now)})"))
    return [("Everywhere", [("UTC", "UTC")]), *found.items()]


def _distance(zone: str, now: datetime) -> str:
    away = now.astimezone(zoneinfo.ZoneInfo(zone)).utcoffset() or timedelta()
    minutes = abs(int(away.total_seconds())) // 60
    return f"UTC{'-' if away < timedelta() else '+'}{minutes // 60:02}:{minutes % 60:02}"
