"""Celery entry points. Arguments are ids."""

from typing import Any

from jobs import job
from jobs.schedules.defaults import default_schedule
from reminders import file_tasks  # noqa: F401  (it registers)

MAX_ATTEMPTS = 6


@job(
    name="reminders.send_due_soon",
    queue="default",
    priority=9,
    unique=lambda: "reminders:scan",
    soft_time_limit=900,
)
def send_due_soon() -> dict[str, Any]:
    """Fire the reminders that are due, and hand them to deliveries."""
    from reminders.services import scanning

    return scanning.send_due_soon()


@job(
    name="reminders.deliver",
    queue="deliveries",
    unique=lambda delivery_id: f"reminder:{delivery_id}",
    max_attempts=MAX_ATTEMPTS,
    backoff_seconds=60,
    jitter=True,
    bind=True,
    max_retries=MAX_ATTEMPTS - 1,
)
def deliver_reminder(self: Any, delivery_id: int) -> dict[str, Any]:
    """Send one delivery by its channel, once."""
    from reminders.services import delivering

    return delivering.deliver(delivery_id, last_attempt=self.request.retries + 1 >= MAX_ATTEMPTS)


@job(
    name="reminders.ask_to_confirm",
    queue="deliveries",
    unique=lambda mail_id: f"reminders:confirm:{mail_id}",
    max_attempts=MAX_ATTEMPTS,
    backoff_seconds=60,
    jitter=True,
)
def ask_to_confirm(mail_id: int) -> dict[str, Any]:
    """Ask the owner of an address by mail whether reminders may be sent there."""
    from reminders.services import confirming

    return confirming.send(mail_id)


@job(name="reminders.settle_deliveries", queue="maintenance", unique=lambda: "reminders:settle")
def settle_deliveries() -> dict[str, int]:
    """Say of deliveries whose job will not run any more what became of them."""
    from reminders.services import settling

    return settling.settle_lost()


@job(
    name="reminders.replan_person",
    queue="default",
    unique=lambda user_id, renewed=None: f"reminders:replan:{user_id}:{renewed or ''}",
    # One that runs may have read what is changed now.
    unique_while="queued",
)
def replan_person(user_id: int, renewed: int | None = None) -> dict[str, int]:
    """Plan all of a person's reminders again, after a change of their preferences, or of a rule that fires anew."""
    from reminders.services import planning

    return {"planned": planning.replan(planning.todos_of(user_id), renewed=renewed)}


@job(name="reminders.tidy", queue="maintenance", unique=lambda: "reminders:tidy", soft_time_limit=1800)
def tidy() -> dict[str, Any]:
    """Plan again what fires soon, as the tz database may have changed; remove old history and unused files."""
    from reminders.services import tidying

    return tidying.tidy()


default_schedule(
    "reminders-send-due-soon",
    task="reminders.send_due_soon",
    interval={"every": 60, "period": "seconds"},
    description="Remind people of tasks that fall due.",
)
default_schedule(
    "reminders-settle-deliveries",
    task="reminders.settle_deliveries",
    interval={"every": 300, "period": "seconds"},
    description="Mark reminders as failed whose job ended without sending them.",
)
default_schedule(
    "reminders-tidy",
    task="reminders.tidy",
    crontab={"minute": "40", "hour": "3"},
    description="Plan reminders by the present tz database, and remove what is no longer needed.",
)
