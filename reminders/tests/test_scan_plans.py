"""What a scan asks finds its rows by an index, whatever the statistics say."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, time, timedelta
from typing import Any

import pytest
from django.db import connection

from reminders.models import Channel, ChannelKind, PlannedReminder, Priority, Reminder, ReminderDelivery, ReminderState
from reminders.services import outbox, outbox_rows, scanning
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

NOW = at("2026-03-02 09:00")
TABLES = ("reminders_plannedreminder", "reminders_reminder", "reminders_reminderdelivery", "reminders_todo")


@contextmanager
def explained() -> Iterator[list[str]]:
    """The plans of what is asked inside, made without running it a second time."""
    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if re.match(r"\s*(\(?SELECT|WITH|UPDATE|INSERT)", sql) and any(table in sql for table in TABLES):
            with connection.cursor() as cursor:
                cursor.cursor.execute(f"EXPLAIN {sql}", params)
                plans.append("\n".join(row[0] for row in cursor.cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield plans


@pytest.fixture
def misled(clock: Any) -> None:
    """Thousands of rows that the statistics know nothing of: they were made when nearly all was due."""
    ada = person()
    rows = [todo(ada, due_date=date(2026, 3, 2), due_time=time(9), overdue_reminders=False) for _ in range(2)]
    values = {"recipient": ada, "schedule_version": 0, "fire_at": NOW}
    PlannedReminder.objects.bulk_create(PlannedReminder(todo=rows[0], kind=f"x:{n}", **values) for n in range(300))
    made = {"todo": rows[1], "fired_at": NOW, **values}
    Reminder.objects.bulk_create(Reminder(kind=f"x:{n}", **made) for n in range(300))
    mail = Channel.objects.create(user=ada, kind=ChannelKind.MAIL)
    ReminderDelivery.objects.bulk_create(
        ReminderDelivery(channel=mail, recipient=ada, created_at=NOW) for _ in range(300)
    )
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(TABLES)}")
    PlannedReminder.objects.update(fire_at=NOW + timedelta(days=9))
    Reminder.objects.update(state=ReminderState.OUTBOX)
    ReminderDelivery.objects.update(job_id="sent")
    clock(NOW)


@pytest.fixture
def due(misled: None, clock: Any) -> None:
    """One that is due and urgent, of somebody with quiet hours, and two soon, which make a digest of it."""
    clock(NOW - timedelta(minutes=1))
    bob = person(quiet_from=time(8), quiet_until=time(10), digest_from=2)
    for minute in (0, 3, 6):
        todo(bob, due_date=date(2026, 3, 2), due_time=time(9, minute), priority=Priority.URGENT)
    clock(NOW)


def test_no_statement_of_a_scan_reads_a_whole_table(due: None) -> None:
    with explained() as plans:
        scanning.is_anything_owed(NOW)
        done = scanning.Scan()
        scanning.fill_outbox(NOW, done)
        outbox_rows.claim_unsent(500)

    assert (done.found, done.fired, done.deliveries) == (1, 3, 1)
    assert len(plans) >= 9
    assert not [plan for plan in plans for table in TABLES if f"Seq Scan on {table}" in plan]


def test_no_statement_of_a_scan_after_downtime_reads_a_whole_table(due: None) -> None:
    with explained() as plans:
        scanning.fire(NOW)
        scanning.gather(NOW)
        outbox.write(NOW, scanning.Scan())

    assert ReminderDelivery.objects.filter(layout="digest").count() == 1
    assert len(plans) >= 7
    assert not [plan for plan in plans for table in TABLES if f"Seq Scan on {table}" in plan]
    # Why something is not to be sent any more is found by indexes alone.
    assert [("Seq Scan" in plan) for plan in plans if "reminders_reminderrule" in plan] == [False]
