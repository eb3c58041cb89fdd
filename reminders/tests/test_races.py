"""A scan and a change of the same task at once: nothing doubled, lost, sent for nothing, and nobody waits for ever."""

from collections.abc import Callable
from datetime import date, time, timedelta
from typing import Any

import pytest

from jobs.operators.actors import command_actor
from reminders.models import (
    DeliveredReminder,
    PlannedReminder,
    Preferences,
    Priority,
    Reminder,
    ReminderDelivery,
    ReminderRule,
    Todo,
)
from reminders.operators import people, rules
from reminders.services import calendars, outbox, outbox_rows, planning, scanning, todos
from reminders.tests.factories import at, person, todo
from reminders.tests.racing import begun, uncommitted

pytestmark = pytest.mark.django_db(transaction=True)

NOW = at("2026-03-02 09:00")
HOUR = timedelta(hours=1)
LATER = at("2026-03-04 09:00")
Deed = Callable[[Todo], Any]

DEEDS: dict[str, Deed] = {
    "complete": lambda row: todos.complete(row.pk, None),
    "change": lambda row: todos.change(row.pk, {"due_date": LATER.date()}),
    "snooze": lambda row: todos.snooze(row.pk, row.creator_id or 0, LATER),
    "delete": lambda row: todos.delete(row.pk),
    "replan": lambda row: planning.replan([row.pk]),
    "rule": lambda row: rules.change_rule(command_actor(), row.rules.get().pk, {"offset": "PT1H"}),
}
#: What its person is reminded of in the end, if the deed came before the reminder was written down.
AFTERWARDS: dict[str, list[tuple[str, Any]]] = {
    "complete": [],
    "change": [("rule", LATER)],
    "snooze": [("snooze", LATER)],
    "delete": [],
    "replan": [("rule", NOW)],
    "rule": [("rule", NOW + HOUR)],
}
deeds = pytest.mark.parametrize("deed", DEEDS)


@pytest.fixture
def row(clock: Any) -> Todo:
    made = todo(
        person(), ReminderRule(offset="PT0S"), due_date=date(2026, 3, 2), due_time=time(9), overdue_reminders=False
    )
    clock(NOW)
    return made


def sent() -> list[tuple[str, Any]]:
    """What is in messages, by the time at which it was to be sent."""
    items = DeliveredReminder.objects.order_by("reminder__fire_at").select_related("reminder")
    return [(item.reminder.kind.partition(":")[0], item.reminder.fire_at) for item in items]


def finish(clock: Any) -> None:
    """Scans go on, a minute after the other, until the later date."""
    for moment in (NOW, NOW + timedelta(minutes=1), NOW + HOUR, LATER):
        clock(moment)
        scanning.send_due_soon()


@deeds
def test_a_deed_during_a_scan_waits_for_it_and_has_the_last_word(deed: str, row: Todo, clock: Any) -> None:
    with uncommitted(lambda: scanning.fire(NOW)) as scan:
        other = begun(lambda: DEEDS[deed](row))
        assert scan.is_running
    other.end()

    assert scan.result == (1, 1, 0)
    finish(clock)
    assert sent() == AFTERWARDS[deed]


@deeds
def test_a_deed_during_a_scan_up_to_its_deliveries_waits_for_it(deed: str, row: Todo, clock: Any) -> None:
    with uncommitted(lambda: scanning.fill_outbox(NOW, scanning.Scan())) as scan:
        other = begun(lambda: DEEDS[deed](row))
        assert scan.is_running
    other.end()

    finish(clock)
    before = [] if deed in ("delete", "replan") else [("rule", NOW)]
    assert sent() == before + AFTERWARDS[deed]
    assert ReminderDelivery.objects.count() == len(sent()) + (deed == "delete")


@deeds
def test_a_scan_during_a_deed_leaves_the_task_to_the_next_one(deed: str, row: Todo, clock: Any) -> None:
    with uncommitted(lambda: DEEDS[deed](row)):
        assert begun(lambda: scanning.fire(NOW)).end() == (0, 0, 0)

    finish(clock)
    assert sent() == AFTERWARDS[deed]


@deeds
def test_a_deed_while_the_outbox_is_written_waits_for_it(deed: str, row: Todo, clock: Any) -> None:
    scanning.fire(NOW)
    with uncommitted(lambda: outbox.write(NOW, scanning.Scan())):
        other = begun(lambda: DEEDS[deed](row))
    other.end()

    finish(clock)
    before = [] if deed in ("delete", "replan") else [("rule", NOW)]
    assert sent() == before + AFTERWARDS[deed]
    assert ReminderDelivery.objects.count() == len(sent()) + (deed == "delete")


@deeds
def test_the_outbox_leaves_alone_what_a_deed_is_at(deed: str, row: Todo, clock: Any) -> None:
    scanning.fire(NOW)
    with uncommitted(lambda: DEEDS[deed](row)):
        begun(lambda: outbox.write(NOW, scanning.Scan())).end()
        if deed != "replan":
            assert not ReminderDelivery.objects.exists()

    finish(clock)
    assert sent() == AFTERWARDS[deed]


def test_a_rolled_back_deed_loses_nothing(row: Todo, clock: Any) -> None:
    class Rollback(Exception):
        pass

    def fails() -> None:
        todos.complete(row.pk, None)
        raise Rollback

    scanning.fire(NOW)
    with pytest.raises(Rollback), uncommitted(fails):
        pass
    finish(clock)
    assert sent() == [("rule", NOW)]


def test_two_who_write_the_outbox_leave_each_person_in_one_message(clock: Any) -> None:
    people = [person() for _ in range(3)]
    for who in people * 4:
        todo(who, due_date=date(2026, 3, 2), due_time=time(9))
    clock(NOW)
    scanning.fire(NOW)

    with uncommitted(lambda: outbox.write(NOW, scanning.Scan())):
        other = begun(lambda: outbox.write(NOW, scanning.Scan()))
        assert other.is_running
    other.end()
    assert [row.layout for row in ReminderDelivery.objects.all()] == ["digest"] * 3
    assert DeliveredReminder.objects.count() == 12


def test_a_full_batch_divides_nobody(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BATCH", 6)
    few, many, all_of_it = [person() for _ in range(3)]
    for who, count in ((few, 4), (many, 4), (all_of_it, 14)):
        for _ in range(count):
            todo(who, due_date=date(2026, 3, 2), due_time=time(9))
    scanning.fire(clock(NOW))
    outbox.write(NOW, scanning.Scan())

    sizes = [(row.recipient, row.reminders.count()) for row in ReminderDelivery.objects.order_by("id")]
    # Fourteen are more than a batch: then there is no other way.
    assert sizes[:4] == [(few, 4), (many, 4), (all_of_it, 6), (all_of_it, 6)]
    assert sum(size for _, size in sizes) == 22


def test_two_deeds_at_once_wait_for_one_another(row: Todo, clock: Any) -> None:
    with uncommitted(lambda: todos.change(row.pk, {"due_date": LATER.date()})):
        other = begun(lambda: todos.complete(row.pk, None))
        assert other.is_running
    other.end()

    finish(clock)
    assert sent() == []
    assert not PlannedReminder.objects.exists()


def test_what_was_put_off_stays_so_when_its_task_is_planned_anew(row: Todo, clock: Any) -> None:
    clock("2026-03-02 08:00")
    todos.snooze(row.pk, row.creator_id or 0, LATER)
    todos.change(row.pk, {"title": "Water the trees"})

    finish(clock)
    assert sent() == [("snooze", LATER)]


def test_a_snooze_after_others_that_were_cleaned_up_is_another_one(row: Todo, clock: Any) -> None:
    for hour in (10, 11, 12):
        clock(at(f"2026-03-02 {hour - 1:02}:30"))
        todos.snooze(row.pk, row.creator_id or 0, at(f"2026-03-02 {hour}:00"))
        clock(at(f"2026-03-02 {hour}:00"))
        scanning.send_due_soon()
        if hour == 11:
            Reminder.objects.filter(kind="snooze:0").delete()
    assert Reminder.objects.filter(fire_at=at("2026-03-02 12:00"), state="outbox").exists()


@pytest.mark.parametrize("first", ["scan", "change"])
def test_a_pause_that_ends_while_a_scan_holds_by_it_holds_nothing_for_long(first: str, row: Todo, clock: Any) -> None:
    ada = row.creator
    assert ada is not None
    Preferences.objects.create(user=ada, paused_until=LATER)

    def end_the_pause() -> None:
        people.change_preferences(command_actor(), {"paused_until": None}, ada.username)

    def scan() -> None:
        scanning.fill_outbox(NOW, scanning.Scan())

    one, other = (scan, end_the_pause) if first == "scan" else (end_the_pause, scan)
    with uncommitted(one):
        second = begun(other)
    second.end()

    clock(NOW + timedelta(minutes=1))
    scan()
    assert sent() == [("rule", NOW)]


def test_what_becomes_urgent_while_a_scan_begins_is_not_held_till_the_quiet_hours_end(
    row: Todo, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert row.creator is not None
    Preferences.objects.create(user=row.creator, quiet_from=time(8), quiet_until=time(20))
    scanning.fire(NOW)
    # It has seen the task as it was, and not locked the reminder yet.
    slowly = outbox_rows._CLAIM.replace("FROM reminders_reminder", "FROM pg_sleep(1) AS nap, reminders_reminder")
    monkeypatch.setattr(outbox_rows, "_CLAIM", slowly)
    scan = begun(lambda: scanning.fill_outbox(NOW, scanning.Scan()))
    assert scan.is_running
    todos.change(row.pk, {"priority": Priority.URGENT})
    scan.end()

    clock(NOW + timedelta(minutes=1))
    scanning.send_due_soon()
    assert sent() == [("rule", NOW)]


def test_an_import_that_takes_rules_away_and_a_change_of_the_task_wait_in_no_ring(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = person()
    row = todo(ada, due_date=date(2026, 3, 2), due_time=time(9))
    without = calendars.calendar_of(ada)
    ReminderRule.objects.create(todo=row, offset="-PT1H")
    planning.replan([row.pk])
    others = []

    def change(*args: Any, **values: Any) -> Todo:
        others.append(begun(lambda: todos.complete(row.pk, None)))
        return changed(*args, **values)

    changed = todos.change
    monkeypatch.setattr(todos, "change", change)
    assert calendars.import_calendar(ada, without).updated == [row.pk]
    others[0].end()
    assert not ReminderRule.objects.exists()
    assert not PlannedReminder.objects.exists()
