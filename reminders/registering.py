"""What holds this app together with Django, the doctor, metrics and alerts. Imported when Django starts."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import checks

from jobs.ledger.sweeps import Connection
from jobs.operators import health
from jobs.watch import of_apps


def _examine() -> list[health.Finding]:
    from reminders.operators import health as of_reminders
    from reminders.services import file_health

    return [*of_reminders.examine(), *file_health.examine()]


def _metrics() -> Iterable[Any]:
    from reminders.operators import metrics

    return metrics.collect()


def _since_scan(connection: Connection) -> timedelta | None:
    from reminders import moment

    row = connection.execute("SELECT last_success_at FROM reminders_scanrecord WHERE id = 1").fetchone()
    return moment.now() - row[0] if row is not None and row[0] is not None else None


@checks.register
def check_attachment_types(app_configs: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """reminders.E001: ATTACHMENT_TYPES names a type that is not known."""
    from reminders.files.kinds import KINDS

    unknown = [name for name in settings.ATTACHMENTS["TYPES"] if name not in KINDS]
    if not unknown:
        return []
    words = f"ATTACHMENT_TYPES names {', '.join(map(repr, unknown))}; choose from: {', '.join(KINDS)}"
    return [checks.Error(words, id="reminders.E001")]


@checks.register
def check_clock(app_configs: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """reminders.W001: the clock of reminders is turned by a file, which is for simulations alone."""
    if not settings.VIRTUAL_CLOCK:
        return []
    words = "VIRTUAL_CLOCK is set: reminders go by the time in that file"
    return [checks.Warning(words, hint="Unset it, except in a simulation.", id="reminders.W001")]


def register() -> None:
    from reminders.services import attachments, leaving

    attachments.connect()
    leaving.connect()
    health.also_examine(_examine)
    of_apps.also_collect(_metrics)
    of_apps.also_watch("reminders.send_due_soon", _since_scan)
