"""Celery entry points for attached files. Arguments are ids."""

from typing import Any

from jobs import job
from jobs.schedules.defaults import default_schedule


@job(
    name="reminders.scan_file",
    queue="default",
    unique=lambda blob_id: f"reminders:scan_file:{blob_id}",
    max_attempts=8,
    backoff_seconds=30,
    jitter=True,
    soft_time_limit=300,
)
def scan_file(blob_id: int) -> dict[str, Any]:
    """Ask the virus scanner about one content."""
    from reminders.services import file_scanning

    return file_scanning.scan(blob_id)


@job(
    name="reminders.make_thumbnail",
    queue="default",
    priority=2,
    unique=lambda blob_id: f"reminders:thumbnail:{blob_id}",
    max_attempts=4,
    jitter=True,
    soft_time_limit=120,
)
def make_thumbnail(blob_id: int) -> dict[str, Any]:
    """Make the thumbnail of one picture."""
    from reminders.services import file_scanning

    return file_scanning.make_thumbnail(blob_id)


@job(name="reminders.scanner_canary", queue="default", unique=lambda: "reminders:canary", max_attempts=1)
def scanner_canary() -> dict[str, Any]:
    """Fail, and so fire alerts, unless the virus scanner finds the EICAR test file."""
    from reminders.services import file_scanning

    return file_scanning.check_scanner()


@job(name="reminders.sweep_files", queue="maintenance", unique=lambda: "reminders:sweep_files", soft_time_limit=900)
def sweep_files() -> dict[str, Any]:
    """Send what waits for the scanner again; remove contents that belong to nothing any more."""
    from reminders.services import file_scanning, file_sweeping

    return {"sent": file_scanning.resend(), **file_sweeping.sweep()}


@job(name="reminders.sweep_storage", queue="maintenance", unique=lambda: "reminders:storage", soft_time_limit=3000)
def sweep_storage() -> dict[str, Any]:
    """Remove stored files that no row knows; note which contents nothing refers to, if that was missed."""
    from reminders.services import file_sweeping

    file_sweeping.reconcile()
    return file_sweeping.sweep_storage()


default_schedule(
    "reminders-scanner-canary",
    task="reminders.scanner_canary",
    crontab={"minute": "17"},
    description="See that the virus scanner finds what it must find; without one it does nothing.",
)
default_schedule(
    "reminders-sweep-files",
    task="reminders.sweep_files",
    interval={"every": 600, "period": "seconds"},
    description="Have waiting files scanned, and remove those that belong to nothing.",
)
default_schedule(
    "reminders-sweep-storage",
    task="reminders.sweep_storage",
    crontab={"minute": "10", "hour": "4"},
    description="Remove stored files that no row knows.",
)
