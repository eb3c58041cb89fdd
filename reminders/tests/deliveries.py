"""Deliveries as tests need them: fired by a scan, and tried as their jobs would."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

from jobs.effects import EffectUnknown
from jobs.ledger.connection import effects
from jobs.ledger.errors import Snooze
from reminders.models import ReminderDelivery, ReminderRule, Todo
from reminders.services import delivering, scanning, sending, todos
from reminders.tests.factories import at, todo

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}

Clock = Callable[[str | datetime], datetime]


def fired(clock: Clock, person: Any, *rules: ReminderRule, **fields: Any) -> ReminderDelivery:
    """The delivery of a new task's reminder, which is due at 09:00 UTC."""
    clock("2026-03-02 08:00")
    todo(person, *rules, **{**DUE, **fields})
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    return ReminderDelivery.objects.latest("id")


def fired_again(clock: Clock, row: Todo, days: int) -> ReminderDelivery:
    """The delivery of the same task's reminder on another day."""
    todos.change(row.pk, {"due_date": date(2026, 3, 2) + timedelta(days=days)})
    clock(at("2026-03-02 09:00") + timedelta(days=days))
    scanning.send_due_soon()
    return ReminderDelivery.objects.latest("id")


def tried(delivery: ReminderDelivery, **options: Any) -> Any:
    """One run of its job: what it returned, or the error that it raised."""
    try:
        return delivering.deliver(delivery.pk, **options)
    except Exception as exc:
        return exc
    finally:
        delivery.refresh_from_db()


def run_out(delivery: ReminderDelivery) -> Any:
    """As many runs of its job as it takes, with time passing between them."""
    for _ in range(6):
        outcome = tried(delivery)
        if not isinstance(outcome, (EffectUnknown, Snooze)):
            return outcome
        let_the_deadline_pass(delivery)
    raise AssertionError(f"delivery {delivery.pk} came to no end")


def let_the_deadline_pass(delivery: ReminderDelivery) -> None:
    let_the_deadline_of_key_pass(sending.key_of(delivery.pk))


def let_the_deadline_of_key_pass(key: str) -> None:
    query = (
        "UPDATE jobs_effect SET deadline_at = clock_timestamp() - interval '1 ms' WHERE state = 'tried' AND key = %s"
    )
    effects().insist(lambda own: own.execute(query, [key]))
