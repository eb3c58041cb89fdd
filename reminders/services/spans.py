"""Lengths of time in words."""

from datetime import timedelta

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def span(length: timedelta) -> str:
    """Such as "3 days" or "2 hours 5 minutes", to the minute below a day; empty below a minute, and for the past."""
    left = int(length.total_seconds())
    words = []
    for seconds, unit in _UNITS:
        count, left = divmod(max(left, 0), seconds)
        if count:
            words.append(f"{count} {unit}{'' if count == 1 else 's'}")
            if unit == "day":
                break
    return " ".join(words)
