"""What time it is. Services of reminders ask here, so that a simulation can turn the clock."""

from datetime import UTC, datetime

from django.conf import settings


def now() -> datetime:
    """The instant, in UTC; from the file that VIRTUAL_CLOCK names, if it names one: an ISO time on its first line."""
    if settings.VIRTUAL_CLOCK:
        with open(settings.VIRTUAL_CLOCK, encoding="ascii") as file:
            return datetime.fromisoformat(file.readline().strip()).astimezone(UTC)
    return datetime.now(UTC)
