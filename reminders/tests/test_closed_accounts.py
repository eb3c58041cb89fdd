"""An account that is closed keeps its place in tasks, so that it is reminded again once it is opened."""

from collections.abc import Callable
from datetime import date, time
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from jobs.operators.settings import SettingsRefused
from reminders.models import PlannedReminder, Project, Reminder, ReminderRule, Todo
from reminders.operators import projects
from reminders.operators import todos as operators
from reminders.services import scanning, tidying, todos
from reminders.services.explaining import explain
from reminders.tests.deliveries import DUE, tried
from reminders.tests.factories import person, todo
from reminders.tests.post_office import PostOffice
from reminders.tests.test_operator_todos import acting

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects")]

PLANNED_ANEW: dict[str, Callable[[Todo], Any]] = {
    "by the nightly clean-up": lambda row: tidying.tidy(),
    "by an edit": lambda row: todos.change(row.pk, {"title": "Water the trees"}),
    "for another date": lambda row: todos.change(row.pk, {"due_date": date(2026, 3, 2), "due_time": time(11)}),
}


def with_open(is_active: bool, *people: Any) -> None:
    # As code does that no signal of Django hears of.
    get_user_model()._default_manager.filter(pk__in=[one.pk for one in people]).update(is_active=is_active)
    for one in people:
        one.is_active = is_active


@pytest.mark.parametrize("how", PLANNED_ANEW)
def test_whoever_is_opened_again_is_reminded_of_what_was_planned_anew_meanwhile(
    how: str, clock: Any, office: PostOffice
) -> None:
    ada, eve = person("ada"), person("eve")
    default = ReminderRule.objects.create(person=eve, offset="PT1H")
    row = todo(ada, assignees=[eve], **DUE)
    with_open(False, eve)
    clock("2026-03-01 12:00")
    PLANNED_ANEW[how](row)
    with_open(True, eve)

    assert f"rule:{default.pk}" in PlannedReminder.objects.filter(recipient=eve).values_list("kind", flat=True)
    clock("2026-03-02 11:00")
    scanning.send_due_soon()
    for reminder in Reminder.objects.filter(recipient=eve):
        tried(reminder.deliveries.get())
    assert {mail["To"] for mail in office.mails} == {eve.email}


def test_what_falls_due_while_an_account_is_closed_is_dropped_and_not_sent_later(
    clock: Any, office: PostOffice
) -> None:
    ada, eve = person("ada"), person("eve")
    row = todo(ada, assignees=[eve], **DUE)
    with_open(False, eve)
    tidying.tidy()
    assert "reaches nobody as things are: the account is closed" in explain(row, eve).summary
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    with_open(True, eve)
    scanning.send_due_soon()

    dropped = Reminder.objects.get(recipient=eve)
    assert (dropped.state, dropped.reason) == ("dropped", "the account is closed")
    assert office.mails == []


def test_a_task_of_rules_alone_that_lost_its_plan_gets_it_back_on_the_night_before_it_is_due(clock: Any) -> None:
    row = todo(person(), ReminderRule(offset="-PT1H"), overdue_reminders=False, **DUE)
    planned = set(PlannedReminder.objects.values_list("kind", "fire_at"))
    PlannedReminder.objects.all().delete()

    clock("2026-02-20 03:40")
    assert tidying.tidy()["replanned"] == 0
    clock("2026-03-01 03:40")
    assert tidying.tidy()["replanned"] == len(planned)
    assert set(PlannedReminder.objects.filter(todo=row).values_list("kind", "fire_at")) == planned


def test_the_bulk_assigning_of_others_keeps_a_closed_account(clock: Any) -> None:
    ada, bob, eve = person("ada"), person("bob"), person("eve")
    row = todo(ada, assignees=[bob, eve], watchers=[eve])
    with_open(False, eve)
    assert operators.assign_each(acting(ada), [row.pk], ["ada"]).done == [row.pk]
    assert set(row.assignees.all()) == {ada, bob, eve}


def test_lists_of_people_take_closed_accounts_that_are_on_them_and_no_other(clock: Any) -> None:
    ada, bob, eve = person("ada"), person("bob"), person("eve")
    row = todo(ada, assignees=[eve])
    garden = Project.objects.create(name="Garden")
    garden.members.set([ada, eve])
    with_open(False, bob, eve)

    operators.change_todo(acting(ada), row.pk, {"assignees": ["eve", "ada"]})
    projects.change_project(acting(ada), garden.pk, {"name": "Orchard", "members": ["ada", "eve"]})
    assert set(row.assignees.all()) == set(garden.members.all()) == {ada, eve}
    for refused in ({"assignees": ["bob", "eve"]}, {"watchers": ["eve"]}):
        with pytest.raises(SettingsRefused, match="no open account"):
            operators.change_todo(acting(ada), row.pk, refused)
    operators.change_todo(acting(ada), row.pk, {"assignees": []})
    assert not row.assignees.exists()
