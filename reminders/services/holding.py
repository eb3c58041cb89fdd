"""Reminders that are held for somebody whose pause or quiet hours change, or of a task that becomes urgent."""

from reminders.models import WAITING, PlannedReminder, Reminder, ReminderState
from reminders.services import outbox_rows

#: Of `Preferences`, what decides how long a reminder is held.
HOLDING = frozenset({"paused_until", "quiet_from", "quiet_until", "urgent_bypasses_quiet", "time_zone"})


def wait_for_scan() -> None:
    """In this transaction no scan holds anything by what counted before; called before anything else is locked."""
    outbox_rows.alone()


def look_anew(person_id: int) -> int:
    """Have the next scan send what is held for somebody, or hold it by what counts now. Returns how many there are.

    In a transaction that began with `wait_for_scan`.
    """
    held = Reminder.objects.filter(recipient=person_id, state=ReminderState.HELD)
    # What somebody else holds is being closed, put off or released by them.
    ids = list(held.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True))
    return Reminder.objects.filter(pk__in=ids).update(state=ReminderState.DUE, held_until=None, reason="")


def look_anew_at(todo_id: int) -> None:
    """Have the next scan look at what is held of a task, which the caller has locked, by what the task is now."""
    # A scan that is at what was planned holds it by what the task was: it is waited for, as in `todos.locked`.
    list(PlannedReminder.objects.select_for_update().filter(todo=todo_id).order_by("pk").values_list("pk"))
    # Also what is due: a scan may be holding that.
    waiting = Reminder.objects.filter(todo=todo_id, state__in=WAITING)
    waiting.update(state=ReminderState.DUE, held_until=None, reason="")
