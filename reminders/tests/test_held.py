"""What waits follows its person's pause and hours, and its task when that is closed by mistake."""

from datetime import date, time
from typing import Any

import pytest

from jobs.operators.actors import Actor
from jobs.tests.api_client import caller
from reminders.models import PlannedReminder, Priority, Reminder, ReminderDelivery, Todo
from reminders.operators import people
from reminders.services import delivering, explaining, scanning, todos
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}
ON = "2026-03-02 09:00"


def scan() -> None:
    scanning.send_due_soon()


def fired() -> tuple[str, Any]:
    row = Reminder.objects.get(kind="overdue:0")
    return row.state, row.held_until


def set_preferences(who: Any, **given: Any) -> None:
    answer = caller(who).patch("/api/v1/reminder-preferences/", given, content_type="application/json")
    assert answer.status_code == 200, answer.content


@pytest.fixture
def paused(clock: Any) -> Any:
    """Somebody with a reminder that is held until the next day."""
    ada = person(time_zone="UTC", paused_until=at("2026-03-03 08:00"))
    todo(ada, **DUE)
    clock(ON)
    scan()
    assert fired() == ("held", at("2026-03-03 08:00"))
    return ada


def test_what_a_pause_held_is_sent_when_the_pause_is_ended(paused: Any, clock: Any) -> None:
    set_preferences(paused, paused_until=None)
    clock("2026-03-02 09:01")
    scan()
    assert fired() == ("outbox", None)


def test_a_longer_pause_holds_what_is_held_for_longer(paused: Any, clock: Any) -> None:
    set_preferences(paused, paused_until="2026-03-04T10:00")
    clock("2026-03-02 09:01")
    scan()
    assert fired() == ("held", at("2026-03-04 10:00"))


def test_what_is_held_by_something_else_too_stays_held(paused: Any, clock: Any) -> None:
    set_preferences(paused, paused_until=None, quiet_from="08:30", quiet_until="11:00")
    clock("2026-03-02 09:01")
    scan()
    assert fired() == ("held", at("2026-03-02 11:00"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"quiet_until": "11:00"}, ("held", at("2026-03-02 11:00"))),
        ({"quiet_from": None, "quiet_until": None}, ("outbox", None)),
        ({"time_zone": "Asia/Tokyo"}, ("outbox", None)),
        ({"digest_from": 7}, ("held", at("2026-03-02 10:00"))),
    ],
)
def test_what_quiet_hours_hold_follows_their_change(given: Any, expected: Any, clock: Any) -> None:
    ada, bob = (person(time_zone="UTC", quiet_from=time(8), quiet_until=time(10)) for _ in range(2))
    for who in (ada, bob):
        todo(who, time_zone="UTC", **DUE)
    clock(ON)
    scan()
    set_preferences(ada, **given)
    clock("2026-03-02 09:01")
    scan()
    of = Reminder.objects.get
    assert (of(recipient=ada).state, of(recipient=ada).held_until) == expected
    assert of(recipient=bob).held_until == at("2026-03-02 10:00")


def test_urgent_ones_are_let_through_as_soon_as_they_may(clock: Any) -> None:
    ada = person(time_zone="UTC", quiet_from=time(8), quiet_until=time(10), urgent_bypasses_quiet=False)
    todo(ada, priority=Priority.URGENT, **DUE)
    clock(ON)
    scan()
    assert fired()[0] == "held"
    set_preferences(ada, urgent_bypasses_quiet=True)
    scan()
    assert fired()[0] == "outbox"


# --- Closed, and reopened ---------------------------------------------------------------------------------------------


def test_what_was_held_waits_again_when_its_task_is_reopened(paused: Any, clock: Any) -> None:
    row = Todo.objects.get()
    todos.complete(row.pk, paused)
    assert fired()[0] == "dropped"
    clock("2026-03-02 09:05")
    todos.reopen(row.pk)
    scan()
    assert fired() == ("held", at("2026-03-03 08:00"))
    clock("2026-03-03 08:00")
    scan()
    assert fired() == ("outbox", None)


def test_what_was_to_be_sent_more_than_a_day_ago_stays_dropped_and_says_why(paused: Any, clock: Any) -> None:
    row = Todo.objects.get()
    todos.complete(row.pk, paused)
    clock("2026-03-03 09:01")
    todos.reopen(row.pk)
    scan()
    dropped = Reminder.objects.get(kind="overdue:0")
    assert (dropped.state, dropped.reason) == ("dropped", todos.REOPENED_LATE)


def test_what_was_of_another_date_stays_dropped(paused: Any, clock: Any) -> None:
    row = Todo.objects.get()
    todos.complete(row.pk, paused)
    todos.change(row.pk, {"due_date": date(2026, 3, 5)})
    todos.reopen(row.pk)
    scan()
    assert [one.reason for one in Reminder.objects.all()] == [todos.CLOSED]


def test_what_was_put_off_stays_dropped(paused: Any) -> None:
    row = Todo.objects.get()
    todos.snooze(row.pk, paused.pk, at("2026-03-06 09:00"))
    todos.complete(row.pk, paused)
    todos.reopen(row.pk)
    assert fired()[0] == "dropped"


def test_a_delivery_that_was_dropped_as_the_task_was_closed_is_made_anew(clock: Any, office: Any) -> None:
    ada = person()
    row = todo(ada, **DUE)
    clock(ON)
    scan()
    todos.complete(row.pk, ada)
    first = ReminderDelivery.objects.get()
    assert delivering.deliver(first.pk)["state"] == "dropped"
    todos.reopen(row.pk)
    scan()
    assert fired()[0] == "outbox"
    assert [one.state for one in ReminderDelivery.objects.order_by("id")] == ["dropped", "pending"]


def test_what_was_put_off_comes_when_its_task_is_reopened_before_then(clock: Any) -> None:
    ada = person(time_zone="UTC")
    row = todo(ada, **DUE)
    clock("2026-03-02 10:00")
    todos.snooze(row.pk, ada.pk, at("2026-03-06 09:00"))
    todos.complete(row.pk, ada)
    row = todos.change(row.pk, {"title": "Water the trees"})
    scan()
    assert people.upcoming(Actor.of_user(ada, via="page")) == []
    told = next(line for line in explaining.explain(row, ada).rules if line.kind == "snooze:0")
    assert told.words.endswith("before its time.")

    todos.reopen(row.pk)
    # And nothing comes before that.
    assert list(PlannedReminder.objects.values_list("kind", "fire_at")) == [("snooze:0", at("2026-03-06 09:00"))]
    clock("2026-03-06 09:00")
    scan()
    assert Reminder.objects.get(kind="snooze:0").state == "outbox"


def test_what_was_put_off_till_a_time_at_which_its_task_is_closed_does_not_come(clock: Any) -> None:
    ada = person(time_zone="UTC")
    row = todo(ada, **DUE)
    todos.snooze(row.pk, ada.pk, at("2026-03-06 09:00"))
    todos.complete(row.pk, ada)
    clock("2026-03-06 09:00")
    scan()
    todos.reopen(row.pk)
    assert not Reminder.objects.exists()
    assert not PlannedReminder.objects.exists()


def test_what_was_put_off_of_closed_tasks_makes_no_digest(clock: Any) -> None:
    ada = person(time_zone="UTC", digest_from=3)
    todo(ada, **DUE)
    row = todo(ada)
    todos.snooze(row.pk, ada.pk, at("2026-03-02 09:05"))
    todos.complete(row.pk, ada)
    todo(ada, due_date=DUE["due_date"], due_time=time(9, 6))
    clock(ON)
    scan()
    assert Reminder.objects.count() == 1


@pytest.mark.parametrize("state", ["pending", "uncertain", "sent"])
def test_what_another_channel_tells_is_not_told_twice(state: str, clock: Any) -> None:
    ada = person()
    row = todo(ada, **DUE)
    clock(ON)
    scan()
    todos.complete(row.pk, ada)
    sent_at = {"sent_at": at(ON)} if state == "sent" else {}
    ReminderDelivery.objects.update(state=state, **sent_at)
    Reminder.objects.update(state="dropped", reason=todos.CLOSED)
    todos.reopen(row.pk)
    scan()
    assert fired()[0] == "outbox"
    assert ReminderDelivery.objects.count() == 1
