"""What is held is not sent once its reason has gone; and what is held of a task that becomes urgent is let through."""

from collections.abc import Callable
from datetime import date, time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.operators.actors import command_actor
from jobs.tests.in_process import run_all
from reminders.models import PlannedReminder, Priority, Reminder, ReminderRule, Todo
from reminders.operators import rules
from reminders.services import outbox, scanning, todos
from reminders.services.explaining import explain
from reminders.tests.factories import at, person, todo
from reminders.tests.racing import begun, uncommitted

pytestmark = pytest.mark.django_db

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}
ON = at("2026-03-02 09:00")
RELEASED = at("2026-03-02 10:00")
QUIET = {"time_zone": "UTC", "quiet_from": time(8), "quiet_until": time(10)}


def scan(clock: Any, now: Any) -> None:
    clock(now)
    scanning.send_due_soon()


def became(who: Any, kind: str) -> tuple[str, str]:
    row = Reminder.objects.get(recipient=who, kind__startswith=kind)
    return row.state, row.reason


def words(row: Todo, who: Any, kind: str) -> str:
    return next(line.words for line in explain(row, who).rules if line.kind.startswith(kind))


def delete_rules(row: Todo, bob: Any) -> None:
    for rule in ReminderRule.objects.all():
        rules.delete_rule(command_actor(), rule.pk)
    run_all()


def give_to_the_maker(row: Todo, bob: Any) -> None:
    todos.change(row.pk, {}, assignees=[row.creator_id or 0])


def stop_watching(row: Todo, bob: Any) -> None:
    todos.change(row.pk, {}, watchers=[])


def switch_off(row: Todo, bob: Any) -> None:
    todos.change(row.pk, {"overdue_reminders": False})


def for_watchers() -> ReminderRule:
    return ReminderRule(offset="PT0S", audience="watchers")


Deed = Callable[[Todo, Any], None]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("own", "default", "kind", "deed", "why"),
    [
        (None, False, "overdue:0", switch_off, "overdue reminders were switched off for the task"),
        (None, False, "overdue:0", give_to_the_maker, "it is for whoever is responsible for the task, "),
        (ReminderRule(offset="PT0S"), False, "rule:", delete_rules, "its rule was deleted"),
        (ReminderRule(offset="PT0S"), False, "rule:", give_to_the_maker, "it is for whoever is responsible"),
        (for_watchers(), False, "rule:", stop_watching, "it is for those who watch the task, "),
        (None, True, "rule:", delete_rules, "its rule was deleted"),
        (None, True, "rule:", give_to_the_maker, "it is for whoever is responsible"),
    ],
)
def test_what_is_held_is_not_sent_when_its_reason_has_gone(
    own: ReminderRule | None, default: bool, kind: str, deed: Deed, why: str, clock: Any
) -> None:
    ada, bob = person("ada"), person("bob", **QUIET)
    if default:
        ReminderRule.objects.create(person=bob, offset="PT0S")
    # Watching too, so that who is not responsible any more still has a part in the task.
    given = [ReminderRule(offset=own.offset, audience=own.audience)] if own else []
    row = todo(ada, *given, assignees=[bob], watchers=[bob], overdue_reminders=kind == "overdue:0", **DUE)
    scan(clock, ON)
    assert became(bob, kind) == ("held", "quiet hours")

    deed(row, bob)
    row.refresh_from_db()
    told = words(row, bob, kind)
    assert f"still waits, and is not sent unless that changes: {why}" in told
    assert "what fired is held" not in explain(row, bob).summary
    scan(clock, RELEASED)
    state, reason = became(bob, kind)
    assert (state, reason.startswith(why)) == ("dropped", True)
    assert f"was not sent: {why}" in words(row, bob, kind)


def test_what_still_has_its_reason_is_sent(clock: Any) -> None:
    ada, bob, eve = person("ada", **QUIET), person("bob", **QUIET), person("eve", **QUIET)
    ReminderRule.objects.create(person=ada, offset="PT0S")
    everyone, own = ReminderRule(offset="-PT1M", audience="everyone"), ReminderRule(offset="-PT2M", person=eve)
    todo(ada, **DUE)
    todo(ada, everyone, own, assignees=[bob], watchers=[eve], **DUE)
    late = todo(ada, assignees=[bob], watchers=[eve], due_date=date(2026, 2, 27), due_time=time(9))
    PlannedReminder.objects.filter(todo=late).delete()
    PlannedReminder.objects.create(todo=late, recipient=eve, kind="overdue:2", fire_at=ON, schedule_version=0)
    todos.snooze(late.pk, ada.pk, ON)
    scan(clock, ON)
    assert set(Reminder.objects.values_list("state", flat=True)) == {"held"}
    # What a rule that is set aside from now on has told of has no other time to be told at.
    ReminderRule.objects.filter(todo=None).update(set_aside_at=ON, set_aside_because="no duration", failures=3)

    scan(clock, RELEASED)
    kinds = {row.kind.partition(":")[0] for row in Reminder.objects.all()}
    assert kinds == {"rule", "overdue", "snooze"}
    assert set(Reminder.objects.values_list("state", flat=True)) == {"outbox"}


def test_what_is_switched_off_and_on_again_meanwhile_loses_nothing(clock: Any) -> None:
    ada = person("ada", **QUIET)
    row = todo(ada, **DUE)
    scan(clock, ON)
    switch_off(row, ada)
    todos.change(row.pk, {"overdue_reminders": True})
    scan(clock, RELEASED)
    assert became(ada, "overdue:0") == ("outbox", "")


def test_what_was_handed_over_is_left_alone(clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, **DUE)
    scan(clock, ON)
    switch_off(row, ada)
    scan(clock, RELEASED)
    assert became(ada, "overdue:0") == ("outbox", "")


def test_a_scan_looks_at_reasons_once_however_many_wait(clock: Any) -> None:
    ada = person("ada")
    for _ in range(3):
        todo(ada, **DUE)
    clock(ON)
    scanning.fire(ON)
    with CaptureQueriesContext(connection) as seen:
        outbox.write(ON, scanning.Scan())
    assert len([one for one in seen if "reminders_reminderrule" in one["sql"]]) == 1


def test_what_is_held_and_will_be_sent_is_told_first(clock: Any) -> None:
    ada = person("ada", **QUIET)
    row = todo(ada, ReminderRule(offset="PT0S"), overdue_reminders=False, **DUE)
    scan(clock, ON)
    told = explain(row, ada).summary
    assert told.startswith("Nothing more is planned for ada; what fired is held: Rule of the task")
    assert "held until 2026-03-02 10:00 UTC: quiet hours" in told


# --- Made urgent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preferences", "state"),
    [
        ({}, "outbox"),
        ({"urgent_bypasses_quiet": False}, "held"),
        ({"paused_until": at("2026-03-02 10:00")}, "held"),
    ],
)
def test_a_task_that_becomes_urgent_is_let_through_where_it_may_be(preferences: Any, state: str, clock: Any) -> None:
    ada = person("ada", **{**QUIET, **preferences})
    row, other = todo(ada, **DUE), todo(ada, **DUE)
    scan(clock, ON)
    todos.change(row.pk, {"priority": Priority.URGENT})
    scan(clock, at("2026-03-02 09:01"))
    fired = dict(Reminder.objects.values_list("todo_id", "state"))
    assert fired == {row.pk: state, other.pk: "held"}
    assert set(Reminder.objects.filter(state="held").values_list("held_until", flat=True)) == {RELEASED}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["planned", "snoozed", "due"])
def test_a_task_that_becomes_urgent_during_a_scan_waits_for_what_that_holds(step: str, clock: Any) -> None:
    ada = person("ada", **QUIET)
    row = todo(ada, **DUE)
    if step == "snoozed":
        todos.snooze(row.pk, ada.pk, ON)
    clock(ON)
    if step == "due":
        scanning.fire(ON)
    with uncommitted(lambda: scanning.fill_outbox(ON, scanning.Scan())):
        other = begun(lambda: todos.change(row.pk, {"priority": Priority.URGENT}))
        assert other.is_running
    other.end()

    scan(clock, at("2026-03-02 09:01"))
    assert set(Reminder.objects.values_list("state", flat=True)) == {"outbox"}


@pytest.mark.django_db(transaction=True)
def test_a_scan_leaves_alone_what_becomes_urgent_meanwhile(clock: Any) -> None:
    ada = person("ada", **QUIET)
    row = todo(ada, **DUE)
    scan(clock, ON)
    with uncommitted(lambda: todos.change(row.pk, {"priority": Priority.URGENT})):
        begun(scanning.send_due_soon).end()
        assert became(ada, "overdue:0")[0] == "held"
    scan(clock, at("2026-03-02 09:01"))
    assert became(ada, "overdue:0")[0] == "outbox"
