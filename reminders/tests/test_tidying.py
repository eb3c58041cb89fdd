"""Old history goes; what keeps a rule from firing twice stays."""

from datetime import date, time, timedelta
from typing import Any

import pytest

from reminders.models import PlannedReminder, Reminder, ReminderDelivery, ReminderRule, Todo
from reminders.services import calendars, scanning, tidying, todos
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


def test_a_zone_that_the_tz_database_has_dropped_stops_no_plan(clock: Any) -> None:
    ada = person(time_zone="UTC")
    row, other = (todo(ada, due_date=date(2026, 3, 2), due_time=time(hour), rrule="FREQ=DAILY") for hour in (9, 10))
    Todo.objects.filter(pk=row.pk).update(time_zone="Mars/Olympus")
    PlannedReminder.objects.filter(kind="overdue:0").update(fire_at=at("2026-03-02 08:00"))

    tidying.tidy()
    planned = PlannedReminder.objects.filter(kind="overdue:0").order_by("fire_at").values_list("todo", "fire_at")
    assert list(planned) == [(row.pk, at("2026-03-02 09:00")), (other.pk, at("2026-03-02 10:00"))]
    assert calendars.calendar_of(ada).count("BEGIN:VTODO") == 2
    assert todos.complete(row.pk, ada).successor


def test_whoever_lost_what_was_planned_has_it_again_by_the_next_night(clock: Any) -> None:
    ada, bob, eve = (person(time_zone="UTC") for _ in range(3))
    due = {"due_date": date(2026, 6, 1), "due_time": time(9)}
    todo(ada, ReminderRule(offset="-PT1H"), assignees=[ada, bob], watchers=[eve], **due)
    todo(eve, **due)
    todo(ada, overdue_reminders=False, **due)
    todos.snooze(todo(ada, **due).pk, ada.pk, at("2026-08-01 09:00"))
    before = set(PlannedReminder.objects.values_list("todo", "kind", "recipient", "fire_at"))
    assert tidying.tidy()["replanned"] == 0

    PlannedReminder.objects.filter(recipient__in=[bob, eve]).delete()
    tidying.tidy()
    assert set(PlannedReminder.objects.values_list("todo", "kind", "recipient", "fire_at")) == before
    assert tidying.tidy()["replanned"] == 0
