"""Old history goes; what keeps a rule from firing twice stays."""

from datetime import date, time, timedelta
from typing import Any

import pytest

from reminders.models import PlannedReminder, Reminder, ReminderDelivery
from reminders.services import scanning, tidying, todos
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db


def test_old_history_of_closed_tasks_goes_and_what_guards_an_open_one_stays(clock: Any, settings: Any) -> None:
    settings.REMINDERS = {"KEEP_DAYS": 30}
    ada = person(digest_from=0)
    closed, opened = (todo(ada, due_date=date(2026, 3, 2), due_time=time(9)) for _ in range(2))
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    ReminderDelivery.objects.update(state="sent", sent_at=at("2026-03-02 09:00"))
    todos.complete(closed.pk, ada)

    clock("2026-04-01 08:00")
    assert tidying.tidy() | {"replanned": 0} == {"replanned": 0, "deliveries": 0, "reminders": 0, "confirmations": 0}
    clock("2026-04-02 09:01")
    assert tidying.tidy() | {"replanned": 0} == {"replanned": 0, "deliveries": 2, "reminders": 1, "confirmations": 0}
    assert Reminder.objects.get().todo == opened


def test_what_fires_soon_is_planned_by_the_present_tz_database(clock: Any) -> None:
    row = todo(person(), due_date=date(2026, 3, 2), due_time=time(9), overdue_reminders=True)
    PlannedReminder.objects.filter(todo=row, kind="overdue:0").update(fire_at=at("2026-03-02 08:00"))

    clock(at("2026-03-02 08:00") - timedelta(days=2))
    tidying.tidy()
    assert PlannedReminder.objects.get(todo=row, kind="overdue:0").fire_at == at("2026-03-02 09:00")
