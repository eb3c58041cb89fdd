"""Whoever has no part in a task any more is told nothing of it."""

from collections.abc import Callable
from datetime import date, time
from typing import Any

import pytest

from jobs.models import Job
from jobs.operators.actors import command_actor
from jobs.tests.api_client import caller, problem
from jobs.tests.api_client import person as operator
from reminders.models import PlannedReminder, Project, Reminder, ReminderDelivery, ReminderRule, Todo
from reminders.operators import people, projects
from reminders.services import parts, planning, scanning, todos
from reminders.services.explaining import explain
from reminders.tests.deliveries import DUE, tried
from reminders.tests.factories import at, person, todo
from reminders.tests.post_office import PostOffice

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects")]

NINE = "2026-03-02 09:00"
LATER = {"due_date": date(2026, 5, 1), "due_time": time(9), "overdue_reminders": False}


def rule_for(user: Any) -> ReminderRule:
    return ReminderRule(person=user, at_date=date(2026, 3, 2), at_time=time(9), time_zone="UTC")


def planned_for(user: Any) -> list[str]:
    return list(PlannedReminder.objects.filter(recipient=user).values_list("kind", flat=True))


def sent_at_nine(clock: Any) -> None:
    """All that is owed by then is tried."""
    clock(NINE)
    scanning.send_due_soon()
    for delivery in ReminderDelivery.objects.order_by("id"):
        tried(delivery)


def leave(row: Todo, **people: Any) -> None:
    todos.change(
        row.pk, {"title": "Told to none but those who stay"}, **{name: [] for name in people or ("assignees",)}
    )


def test_whoever_put_a_task_off_and_left_it_is_not_reminded(clock: Any, office: PostOffice) -> None:
    ada, bob = person("ada"), person("bob")
    row = todo(ada, assignees=[bob], **LATER)
    for user in (ada, bob):
        todos.snooze(row.pk, user.pk, at(NINE))
    leave(row)

    assert (planned_for(ada), planned_for(bob)) == (["snooze:0"], [])
    sent_at_nine(clock)
    assert [mail["To"] for mail in office.mails] == [ada.email]


def test_a_rule_for_somebody_counts_while_they_have_a_part_in_the_task(clock: Any, office: PostOffice) -> None:
    ada, bob = person("ada"), person("bob")
    row = todo(ada, rule_for(bob), watchers=[bob], **LATER)
    kind = f"rule:{row.rules.get().pk}"
    assert planned_for(bob) == [kind]
    leave(row, watchers=True)

    assert planned_for(bob) == []
    told = explain(row, bob)
    assert next(line.words for line in told.rules if line.kind == kind) == (
        "bob has no part in the task any more, so it does not count."
    )
    assert told.notes[0] == (
        "bob did not make this task, is not assigned, does not watch it and is no member of its project, "
        "so nothing of it is sent to them."
    )
    sent_at_nine(clock)
    assert office.mails == []

    clock("2026-03-01 00:00")
    todos.change(row.pk, {}, watchers=[bob.pk])
    assert planned_for(bob) == [kind]


def test_what_is_held_for_somebody_who_leaves_is_dropped_with_the_reason(clock: Any, office: PostOffice) -> None:
    ada, carl = person("ada"), person("carl", paused_until=at("2026-03-02 12:00"))
    row = todo(ada, assignees=[carl], **DUE)
    sent_at_nine(clock)
    assert Reminder.objects.get().state == "held"
    leave(row)

    reminder = Reminder.objects.get(recipient=carl)
    assert (reminder.state, reminder.held_until, reminder.reason) == ("dropped", None, parts.NO_PART)
    words = next(line.words for line in explain(row, carl).rules if line.kind == "overdue:0")
    assert "It is for whoever is responsible, which carl is not." in words
    clock("2026-03-02 12:00")
    scanning.send_due_soon()
    assert not ReminderDelivery.objects.filter(recipient=carl).exists()


def test_of_a_task_that_nobody_made_whoever_leaves_is_left_out_too(clock: Any) -> None:
    bob = person("bob")
    row = todo(None, assignees=[bob], **LATER)
    todos.snooze(row.pk, bob.pk, at(NINE))
    leave(row)
    assert planned_for(bob) == []


def after_the_scan(row: Todo, user: Any) -> None:
    row.assignees.remove(user)


def after_the_project(row: Todo, user: Any) -> None:
    assert row.project is not None
    row.project.members.remove(user)


@pytest.mark.parametrize("deed", [after_the_scan, after_the_project])
def test_a_delivery_drops_what_is_no_longer_of_its_recipient(
    clock: Any, office: PostOffice, deed: Callable[[Todo, Any], None]
) -> None:
    """Even if nothing was planned anew, and the scan was faster."""
    ada, bob = person("ada"), person("bob")
    project = Project.objects.create(name="Garden")
    project.members.set([bob] if deed is after_the_project else [ada])
    given = {"assignees": [bob]} if deed is after_the_scan else {}
    row = todo(ada, rule_for(bob), project=project, **given, **LATER)
    clock(NINE)
    scanning.send_due_soon()
    delivery = ReminderDelivery.objects.get()
    deed(row, bob)

    assert tried(delivery) == {"delivery": delivery.pk, "state": "dropped", "why": parts.NO_PART}
    assert office.mails == []
    reminder = Reminder.objects.get()
    assert (reminder.state, reminder.reason) == ("dropped", parts.NO_PART)
    kind = f"rule:{row.rules.get().pk}"
    (told,) = [line.words for line in explain(row, bob).rules if line.kind == kind]
    assert told == "bob has no part in the task any more, so it does not count."


def test_a_digest_leaves_out_the_tasks_that_its_recipient_left(clock: Any, office: PostOffice) -> None:
    ada, bob = person("ada"), person("bob", digest_from=2)
    rows = [todo(ada, assignees=[bob], title=f"Task {name}", **DUE) for name in "ABC"]
    clock(NINE)
    scanning.send_due_soon()
    rows[1].assignees.clear()
    delivery = ReminderDelivery.objects.get(recipient=bob)

    assert tried(delivery)["state"] == "sent"
    text = str(office.mails[0].get_body(("plain",)).get_content())
    assert [f"Task {name}" in text for name in "ABC"] == [True, False, True]


def test_whoever_leaves_a_project_is_planned_anew_and_whoever_comes_back_too(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    project = Project.objects.create(name="Garden")
    project.members.set([ada, bob])
    row = todo(ada, rule_for(bob), project=project, **LATER)
    todos.snooze(row.pk, bob.pk, at("2026-03-01 20:00"))
    assert len(planned_for(bob)) == 2
    seen = people.upcoming(command_actor(), "bob")

    projects.change_project(command_actor(), project.pk, {"members": ["ada"]})
    # Not seen in the moment before the plan follows either.
    assert (len(seen), people.upcoming(command_actor(), "bob")) == (2, [])
    assert [job.args for job in replanning()] == [[bob.pk]]
    planning.replan(planning.todos_of(bob.pk))
    assert planned_for(bob) == []

    projects.change_project(command_actor(), project.pk, {"members": ["ada", "bob"]})
    planning.replan(planning.todos_of(bob.pk))
    assert planned_for(bob) == [f"rule:{row.rules.get().pk}"]

    projects.delete_project(command_actor(), project.pk)
    assert {job.args[0] for job in replanning()} == {ada.pk, bob.pk}
    planning.replan(planning.todos_of(bob.pk))
    assert planned_for(bob) == []


def replanning() -> list[Any]:
    return list(Job.objects.filter(task="reminders.replan_person").order_by("id"))


def titles(client: Any) -> list[str]:
    return [one["title"] for one in client.get("/api/v1/reminders/").json()["results"]]


def test_who_left_a_task_is_not_told_its_title(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    row = todo(ada, assignees=[bob], **DUE)
    clock(NINE)
    scanning.send_due_soon()
    assert titles(caller(bob)) == ["Water the plants"]
    leave(row)

    problem(caller(bob).get(f"/api/v1/todos/{row.pk}/"), 404)
    assert titles(caller(bob)) == [""]
    number = Reminder.objects.get(recipient=bob).pk
    assert caller(bob).get(f"/api/v1/reminders/{number}/").json()["title"] == ""
    assert titles(caller(operator("some", "reminders.view_reminder"))) == [""]
    told = titles(caller(operator("boss", "reminders.view_reminder", "reminders.view_todo")))
    assert told == ["Told to none but those who stay"]


def test_one_who_has_a_part_by_the_list_has_it_by_the_row(clock: Any) -> None:
    """The two ways in which parts are looked up are of one mind."""
    users = [person() for _ in range(5)]
    maker, assignee, watcher, member, _ = users
    project = Project.objects.create(name="Garden")
    project.members.add(member)
    rows = [
        todo(maker, *map(rule_for, users), assignees=[assignee], watchers=[watcher], project=project),
        todo(maker, *map(rule_for, users)),
        todo(None, *map(rule_for, users), watchers=[member]),
    ]
    by_list = {(row.pk, user.pk) for user in users for row in rows if parts.has_part(user.pk, row.pk)}
    rules = ReminderRule.objects
    by_row = set(rules.filter(parts.concerns("person_id")).values_list("todo_id", "person_id"))
    without = set(parts.without(rules.all(), "person_id").values_list("todo_id", "person_id"))
    everything = {(row.pk, user.pk) for user in users for row in rows}
    assert len(by_list) == 6
    assert (by_row, without) == (by_list, everything - by_list)
    for user in users:
        found = set(rules.filter(parts.concerns(user.pk), person=user).values_list("todo_id", "person_id"))
        assert found == {pair for pair in by_list if pair[1] == user.pk}
