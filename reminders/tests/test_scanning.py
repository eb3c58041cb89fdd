"""What is due fires once, whoever looks, and what is not to be sent is not."""

import threading
from datetime import date, time, timedelta
from typing import Any

import pytest
from django.db import connection

from reminders.models import (
    Channel,
    DeliveryState,
    Layout,
    PlannedReminder,
    Priority,
    Reminder,
    ReminderDelivery,
    ReminderRule,
    ReminderState,
    ScanRecord,
)
from reminders.services import scanning, todos
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}


def states() -> list[str]:
    return list(Reminder.objects.order_by("id").values_list("state", flat=True))


def layouts() -> list[str]:
    return list(ReminderDelivery.objects.order_by("id").values_list("layout", flat=True))


def test_a_rule_fires_once_at_its_time(clock: Any) -> None:
    ada = person()
    todo(ada, ReminderRule(offset="-PT1H"), overdue_reminders=False, **DUE)

    clock("2026-03-02 07:59")
    assert scanning.send_due_soon()["fired"] == 0
    clock("2026-03-02 08:00")
    assert scanning.send_due_soon()["fired"] == 1
    assert scanning.send_due_soon()["fired"] == 0

    reminder = Reminder.objects.get()
    assert (reminder.recipient, reminder.state, reminder.fire_at) == (ada, "outbox", at("2026-03-02 08:00"))
    delivery = ReminderDelivery.objects.get()
    assert (delivery.layout, delivery.state) == (Layout.SINGLE, DeliveryState.PENDING)
    assert delivery.job_id
    assert ScanRecord.objects.get().last_success_at == at("2026-03-02 08:00")


def test_the_overdue_steps_end_after_three_days(clock: Any) -> None:
    ada, bob, eve = person(), person(), person()
    todo(ada, assignees=[bob], watchers=[eve], **DUE)

    told = []
    for hour in range(9, 24 * 7, 12):
        clock(at("2026-03-02 00:00") + timedelta(hours=hour))
        scanning.send_due_soon()
    for reminder in Reminder.objects.order_by("fire_at"):
        told.append((reminder.kind, reminder.recipient, reminder.fire_at))
    assert told == [
        ("overdue:0", bob, at("2026-03-02 09:00")),
        ("overdue:1", bob, at("2026-03-03 09:00")),
        ("overdue:2", eve, at("2026-03-05 09:00")),
    ]


def test_a_new_date_fires_again_and_the_old_one_never(clock: Any) -> None:
    row = todo(person(), **DUE)
    clock("2026-03-02 09:00")
    scanning.fire(clock("2026-03-02 09:00"))
    assert states() == ["due"]

    todos.change(row.pk, {"due_date": date(2026, 3, 4)})
    scanning.send_due_soon()
    assert states() == ["dropped"]
    clock("2026-03-04 09:00")
    scanning.send_due_soon()
    assert states() == ["dropped", "outbox"]
    assert Reminder.objects.filter(superseded_at=None).get().fire_at == at("2026-03-04 09:00")


def test_what_is_done_or_moved_between_plan_and_scan_does_not_fire(clock: Any) -> None:
    row = todo(person(), **DUE)
    type(row).objects.filter(pk=row.pk).update(done_at=clock("2026-03-02 08:59"))
    clock("2026-03-02 09:00")
    assert scanning.send_due_soon() | {"seconds": 0} == dict.fromkeys(scanning.send_due_soon(), 0) | {"found": 1}
    assert not Reminder.objects.exists()


def test_a_reminder_of_a_task_that_is_done_before_it_is_written_is_dropped(clock: Any) -> None:
    row = todo(person(), **DUE)
    scanning.fire(clock("2026-03-02 09:00"))
    type(row).objects.filter(pk=row.pk).update(done_at=clock("2026-03-02 09:00"))

    scanning.send_due_soon()
    assert states() == ["dropped"]
    assert Reminder.objects.get().reason == "the task was closed"


def test_quiet_hours_hold_until_they_end_and_urgent_passes(clock: Any) -> None:
    ada = person(time_zone="Europe/Berlin", quiet_from=time(22), quiet_until=time(7))
    night = {"due_date": date(2026, 3, 2), "due_time": time(23), "time_zone": "Europe/Berlin"}
    todo(ada, overdue_reminders=True, **night)
    todo(ada, title="Now", priority=Priority.URGENT, **night)

    clock("2026-03-02 22:00")
    scanning.send_due_soon()
    assert states() == ["held", "outbox"]
    assert Reminder.objects.get(state="held").held_until == at("2026-03-03 06:00")
    clock("2026-03-03 05:59")
    scanning.send_due_soon()
    assert states() == ["held", "outbox"]
    clock("2026-03-03 06:00")
    scanning.send_due_soon()
    assert states() == ["outbox", "outbox"]


def test_several_that_fall_close_together_are_one_digest(clock: Any) -> None:
    ada, bob = person(), person(digest_from=0)
    for who in (ada, bob):
        for minute in (0, 3, 6, 9):
            todo(who, due_date=date(2026, 3, 2), due_time=time(9, minute))

    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    assert layouts() == ["digest", "single"]
    assert ReminderDelivery.objects.get(recipient=ada).reminders.count() == 4
    clock("2026-03-02 09:09")
    scanning.send_due_soon()
    assert layouts() == ["digest"] + ["single"] * 4


@pytest.mark.parametrize("batch", [3, 7, 100])
def test_what_fires_in_several_batches_is_one_digest_too(batch: int, clock: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(scanning, "BATCH", batch)
    ada, bob = person(), person()
    for minute in range(4):
        for who in (ada, bob):
            todo(who, due_date=date(2026, 3, 2), due_time=time(9, minute))

    clock("2026-03-02 09:03")
    done = scanning.send_due_soon()
    assert (done["found"], done["fired"], done["deliveries"]) == (8, 8, 2)
    assert layouts() == ["digest", "digest"]
    assert [row.reminders.count() for row in ReminderDelivery.objects.all()] == [4, 4]


def test_what_is_held_until_now_is_in_the_digest_of_what_fires_now(clock: Any) -> None:
    ada = person(quiet_from=time(22), quiet_until=time(7))
    for hour in (4, 5, 6):
        todo(ada, due_date=date(2026, 3, 2), due_time=time(hour, 30))
        clock(f"2026-03-02 0{hour}:30")
        scanning.send_due_soon()
    assert states() == ["held"] * 3
    todo(ada, due_date=date(2026, 3, 2), due_time=time(7))

    clock("2026-03-02 07:00")
    assert scanning.send_due_soon()["deliveries"] == 1
    assert (states(), layouts()) == (["outbox"] * 4, ["digest"])


def test_after_downtime_what_is_late_is_one_message_and_what_is_old_is_recorded(clock: Any) -> None:
    ada = person()
    for day, hour in ((1, 8), (2, 1), (2, 2), (2, 8)):
        todo(ada, overdue_reminders=True, due_date=date(2026, 3, day), due_time=time(hour, 30))

    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    # The first task is a day overdue by now, and of that it is reminded in time.
    assert sorted(states()) == ["expired", *["outbox"] * 4]
    late, *singles = ReminderDelivery.objects.order_by("id")
    assert (late.layout, late.reminders.count()) == ("late", 2)
    assert [(row.layout, row.reminders.count()) for row in singles] == [("single", 1)] * 2


def test_whoever_cannot_be_reached_is_recorded_with_the_reason(clock: Any) -> None:
    ada = person()
    ada.email = ""
    ada.save()
    bob = person()
    bob.is_active = False
    todo(ada, assignees=[ada, bob], **DUE)
    bob.save()

    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    assert {row.recipient: row.reason for row in Reminder.objects.all()} == {
        ada: "the account has no mail address, and no other way to be reached",
        bob: "the account is closed",
    }


def test_a_snooze_silences_what_lies_before_it_and_reminds_at_its_time(clock: Any) -> None:
    ada, bob = person(), person()
    row = todo(ada, assignees=[ada, bob], **DUE)
    clock("2026-03-02 08:00")
    todos.snooze(row.pk, ada.pk, at("2026-03-02 11:00"))
    with pytest.raises(todos.TodoRefused, match="has passed"):
        todos.snooze(row.pk, ada.pk, at("2026-03-02 07:00"))

    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    assert [reminder.recipient for reminder in Reminder.objects.all()] == [bob]
    clock("2026-03-02 11:00")
    scanning.send_due_soon()
    assert Reminder.objects.get(recipient=ada).kind == "snooze:0"
    assert PlannedReminder.objects.filter(recipient=ada).count() == 1


def test_a_bad_rule_is_set_aside_and_stops_no_other(clock: Any) -> None:
    row = todo(person(), ReminderRule(offset="-PT1H"), ReminderRule(offset="-PT2H"), **DUE)
    bad, good = row.rules.order_by("id")
    ReminderRule.objects.filter(pk=bad.pk).update(offset="soon")
    for _ in range(3):
        todos.change(row.pk, {"title": "Again"})

    bad.refresh_from_db()
    assert "'soon' is no duration" in bad.set_aside_because
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    assert sorted(Reminder.objects.values_list("kind", flat=True)) == ["overdue:0", f"rule:{good.pk}"]


@pytest.mark.django_db(transaction=True)
def test_many_scanners_at_once_double_nothing(clock: Any) -> None:
    people = [person() for _ in range(20)]
    for index in range(200):
        todo(people[index % 20], assignees=people[index % 20 : index % 20 + 2], **DUE)
    expected = PlannedReminder.objects.filter(kind="overdue:0").count()
    now = clock("2026-03-02 09:00")
    errors: list[BaseException] = []

    def scan() -> None:
        try:
            while scanning.fire(now, batch=7)[0]:
                pass
            scanning.send_due_soon()
        except BaseException as exc:
            errors.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=scan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert Reminder.objects.count() == expected
    assert set(states()) == {ReminderState.OUTBOX}
    delivered = [row.reminders.count() for row in ReminderDelivery.objects.all()]
    assert sum(delivered) == expected
    assert Channel.objects.count() == 20
