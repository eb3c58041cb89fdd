"""A task that repeats and is done late: its series goes on from then, and what was missed belongs to it."""

from datetime import date, time
from typing import Any

import pytest
from django.test import Client

from jobs.models import AuditEntry
from jobs.tests.api_client import caller
from reminders.models import PlannedReminder, ReminderRule, Todo
from reminders.recurrence import next_to_come
from reminders.services import todos
from reminders.services.todos import Completed
from reminders.tests.commanding import data
from reminders.tests.factories import at, person, todo
from reminders.tests.recurrence_model import model_dates

SUNDAY = date(2026, 11, 15)
NINE = {"due_date": SUNDAY, "due_time": time(9)}


def done(row: Todo) -> tuple[date | None, int, int]:
    """The successor's day and place, and how many were skipped."""
    found: Completed = todos.complete(row.pk, None)
    after = found.successor
    return (None, -1, found.skipped) if after is None else (after.due_date, after.occurrence, found.skipped)


@pytest.mark.django_db
def test_the_successor_of_one_that_was_done_late_reminds(clock: Any) -> None:
    row = todo(person(), ReminderRule(offset="-PT1H"), rrule="FREQ=DAILY", overdue_reminders=False, **NINE)
    clock("2026-11-21 10:00")
    assert done(row) == (date(2026, 11, 22), 7, 6)
    assert [one.fire_at for one in PlannedReminder.objects.all()] == [at("2026-11-22 08:00")]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("now", "fields", "expected"),
    [
        ("2026-11-21 08:59", {}, (date(2026, 11, 21), 6, 5)),
        ("2026-11-21 09:00", {}, (date(2026, 11, 22), 7, 6)),
        ("2026-11-14 12:00", {}, (date(2026, 11, 16), 1, 0)),
        # What is due on a day is in time until the day is over, by the task's own clock.
        ("2026-11-21 23:59", {"due_time": None}, (date(2026, 11, 21), 6, 5)),
        ("2026-11-21 23:59", {"due_time": None, "time_zone": "Europe/Berlin"}, (date(2026, 11, 22), 7, 6)),
        ("2026-11-21 10:00", {"rrule": "FREQ=DAILY;COUNT=8"}, (date(2026, 11, 22), 7, 6)),
        ("2026-11-21 10:00", {"rrule": "FREQ=DAILY;COUNT=7"}, (None, -1, 6)),
        ("2026-11-21 10:00", {"rrule": "FREQ=DAILY;COUNT=3"}, (None, -1, 2)),
        ("2026-11-21 10:00", {"rrule": "FREQ=DAILY;UNTIL=20261122"}, (date(2026, 11, 22), 7, 6)),
        ("2026-11-21 10:00", {"rrule": "FREQ=DAILY;UNTIL=20261119"}, (None, -1, 4)),
        ("2026-12-02 10:00", {"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU"}, (date(2026, 12, 13), 2, 1)),
        ("2027-04-01 10:00", {"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1"}, (date(2027, 4, 30), 6, 5)),
        ("2026-11-21 10:00", {"repeat_from": "completion"}, (date(2026, 11, 22), 1, 0)),
    ],
)
def test_the_series_goes_on_with_the_first_date_ahead(now: str, fields: Any, expected: Any, clock: Any) -> None:
    row = todo(person(), **{"rrule": "FREQ=DAILY", **NINE, **fields})
    clock(now)
    assert done(row) == expected


@pytest.mark.django_db
def test_a_rule_of_ten_ends_after_ten_with_those_that_were_missed(clock: Any) -> None:
    row: Todo | None = todo(person(), rrule="FREQ=DAILY;COUNT=10", **NINE)
    seen = []
    for now in ("2026-11-15 08:00", "2026-11-19 08:00", "2026-11-19 09:30", "2026-11-23 12:00"):
        assert row is not None
        clock(now)
        found = todos.complete(row.pk, None)
        seen.append((row.occurrence, found.skipped))
        row = found.successor
    assert (seen, row and (row.occurrence, row.due_date)) == ([(0, 0), (1, 2), (4, 0), (5, 3)], (9, date(2026, 11, 24)))
    assert row is not None
    assert done(row) == (None, -1, 0)


@pytest.mark.django_db
def test_a_reopened_one_that_was_done_late_has_its_successor_already(clock: Any) -> None:
    row = todo(person(), rrule="FREQ=DAILY", **NINE)
    clock("2026-11-21 10:00")
    assert done(row)[1] == 7
    todos.reopen(row.pk)
    clock("2026-11-25 10:00")
    assert done(row) == (None, -1, 0)


@pytest.mark.parametrize(
    "rrule", ["FREQ=DAILY", "FREQ=DAILY;INTERVAL=3;COUNT=3000", "FREQ=WEEKLY;BYDAY=MO,TH", "FREQ=MONTHLY;BYDAY=2FR"]
)
def test_decades_are_skipped_date_for_date(rrule: str) -> None:
    first, today = date(1990, 1, 1), date(2026, 11, 21)
    dates = [day for day in model_dates(rrule, first, date(2027, 1, 31)) if day > first]
    missed = [day for day in dates if day < today]
    ahead = dates[len(missed)] if len(missed) < len(dates) else None
    found = next_to_come(rrule, first=first, due=first, occurrence=0, has_passed=lambda day: day < today)
    assert found == (ahead, len(missed))


@pytest.mark.django_db
def test_the_answers_and_the_audit_log_tell_how_many_were_skipped(clock: Any) -> None:
    ada = person()
    rows = [todo(ada, rrule="FREQ=DAILY", **NINE) for _ in range(3)]
    clock("2026-11-21 10:00")
    answer = caller(ada).post(f"/api/v1/todos/{rows[0].pk}/complete/", {}, content_type="application/json")
    assert (answer.status_code, answer.json()["skipped"]) == (200, 6)
    assert AuditEntry.objects.get(action="todo.complete").detail["skipped"] == 6
    assert data("todos", "done", str(rows[1].pk))[0]["skipped"] == 6
    browser = Client()
    browser.force_login(ada)
    page = browser.post(f"/todos/{rows[2].pk}/complete/", follow=True)
    assert "6 dates that had passed were skipped" in page.content.decode()
