"""Who may do what to a task, what is taken and refused, and what is recorded."""

from datetime import date, time
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.models import AuditEntry
from jobs.operators.actors import Actor, command_actor
from jobs.operators.lookups import NotHere
from jobs.operators.settings import SettingsRefused
from reminders.models import PlannedReminder, Project, ReminderRule, Todo
from reminders.operators import access, rules
from reminders.operators import todos as operators
from reminders.services import parts
from reminders.services.todos import TodoRefused
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}


def acting(user: Any, *permissions: str) -> Actor:
    for name in permissions:
        user.user_permissions.add(Permission.objects.get(content_type__app_label="reminders", codename=name))
    return Actor.of_user(type(user).objects.get(pk=user.pk), "api")


def refused(actor: Actor, **given: Any) -> dict[str, str]:
    with pytest.raises(SettingsRefused) as caught:
        operators.create_todo(actor, {"title": "A task", **given})
    return caught.value.errors


def test_a_person_sees_and_changes_what_concerns_them_and_nothing_else(clock: Any) -> None:
    ada, bob, eve, ann, out = (person() for _ in range(5))
    project = Project.objects.create(name="House")
    project.members.set([ann])
    row = todo(ada, assignees=[bob], watchers=[eve], project=project)
    other = todo(out)

    for user in (ada, bob, eve, ann):
        assert operators.todos(acting(user)).get() == row
        operators.change_todo(acting(user), row.pk, {"notes": str(user)})
        with pytest.raises(NotHere, match=f"there is no task {other.pk}"):
            operators.change_todo(acting(user), other.pk, {"title": "Mine"})
    with pytest.raises(NotHere):
        operators.find_todo(acting(out), row.pk)
    for number in (0, -1, 10**30):
        with pytest.raises(NotHere):
            operators.find_todo(acting(ada), number)
    assert [entry.actor for entry in AuditEntry.objects.filter(action="todo.change").order_by("pk")] == [
        str(user) for user in (ada, bob, eve, ann)
    ]


def test_only_its_creator_and_operators_delete_a_task(clock: Any) -> None:
    ada, bob, ops, auditor = (person() for _ in range(4))
    first, second = todo(ada, assignees=[bob]), todo(ada)
    with pytest.raises(PermissionDenied, match="ask its creator"):
        operators.delete_todo(acting(bob), first.pk)
    with pytest.raises(PermissionDenied):
        operators.change_todo(acting(auditor, "view_todo"), first.pk, {"title": "No"})
    operators.delete_todo(acting(ada), first.pk)
    operators.delete_todo(acting(ops, "view_todo", "delete_todo"), second.pk)
    assert not Todo.objects.exists()
    assert AuditEntry.objects.filter(action="todo.delete").count() == 2


def test_an_account_that_was_closed_and_nobody_at_all_see_nothing(clock: Any) -> None:
    from django.contrib.auth.models import AnonymousUser

    ada = person()
    todo(ada)
    ada.is_active = False
    assert not operators.todos(Actor.of_user(ada, "page")).exists()
    assert not operators.todos(Actor.of_user(AnonymousUser(), "page")).exists()
    with pytest.raises(PermissionDenied):
        operators.create_todo(Actor.of_user(AnonymousUser(), "page"), {"title": "A task"})


def test_a_new_task_has_what_was_given_and_its_reminders_are_planned(clock: Any) -> None:
    ada, bob = person(time_zone="Europe/Berlin"), person()
    given = {
        "title": " Water the plants ",
        "due": "2026-03-02T09:00",
        "priority": "high",
        "tags": ["home", "home"],
        "assignees": [str(bob)],
        "rules": [{"offset": "-PT1H"}, {"at": "2026-03-01T20:00", "person": str(bob)}],
    }
    row = operators.create_todo(acting(ada), given)

    assert (row.title, row.priority, row.tags, row.creator, row.time_zone) == (
        "Water the plants",
        3,
        ["home"],
        ada,
        "Europe/Berlin",
    )
    assert row.due_at == at("2026-03-02 08:00")
    planned = PlannedReminder.objects.filter(rule__isnull=False).order_by("fire_at")
    assert [(one.recipient, one.fire_at) for one in planned] == [
        (bob, at("2026-03-01 19:00")),
        (bob, at("2026-03-02 07:00")),
    ]
    assert AuditEntry.objects.get(action="todo.create").detail == {"title": "Water the plants"}


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"due_date": "tomorrow"}, "due_date", "is 'tomorrow'; it takes a date, such as 2027-01-31"),
        ({"due_date": "2026-02-30"}, "due_date", "it takes a date"),
        ({"due_date": "9999-12-31"}, "due_date", "from 1970-01-01 to 2999-12-31"),
        ({"due_date": "2026-03-02", "due_time": "9 o'clock"}, "due_time", "it takes a time of the clock"),
        ({"due_date": "2026-03-02", "due_time": "25:00"}, "due_time", "it takes a time of the clock"),
        ({"due_date": "2026-03-02", "due_time": "09:00+01:00"}, "due_time", "it takes a time of the clock"),
        ({"due_time": "09:00"}, "due_time", "needs a due_date"),
        ({"start": "2026-03-03", "due": "2026-03-02"}, "start_date", "the start is after it is due"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone", "is no time zone"),
        ({"time_zone": "localtime"}, "time_zone", "is no time zone"),
        ({"time_zone": "Factory"}, "time_zone", "is no time zone"),
        ({"priority": "burning"}, "priority", "choose from: none, low, medium, high, urgent"),
        ({"priority": 9}, "priority", "choose from: 0, 1, 2, 3, 4"),
        ({"priority": True}, "priority", "it takes a whole number"),
        ({"title": ""}, "title", "cannot be blank"),
        ({"title": "two\nlines"}, "title", "write it on one line"),
        ({"title": "two\u2028lines"}, "title", "write it on one line"),
        ({"title": "\u200b\u202e"}, "title", "nothing to show"),
        ({"title": "half a pair \ud800"}, "title", "cannot be stored"),
        ({"title": "x" * 501}, "title", "at most 500"),
        ({"notes": "nul \x00"}, "notes", "cannot be stored"),
        ({"tags": "home"}, "tags", "it takes a list of texts"),
        ({"tags": ["x" * 51]}, "tags", "at most 50"),
        ({"assignees": ["nobody\x00", "no one"]}, "assignees", "there is no open account"),
        ({"assignees": "ada"}, "assignees", "it takes a list of account names"),
        ({"project": "Secret"}, "project", "there is no project 'Secret'"),
        ({"project": 10**30}, "project", "there is no project"),
        ({"rrule": "FREQ=WEEKLY"}, "rrule", "needs a due date"),
        ({"colour": "red"}, "colour", "unknown setting; choose from: title, notes"),
        ({"rules": [{"offset": "soon"}]}, "rules", "entry 1: offset is 'soon'"),
        ({"rules": [{"offset": "-PT1H", "at": "2026-03-01T10:00"}]}, "rules", "not both"),
        ({"rules": [{}]}, "rules", "offset is missing"),
        ({"rules": [7]}, "rules", "entry 1 is 7"),
        ({"rules": {"offset": "-PT1H"}}, "rules", "it takes a list"),
        ({"creator": "nobody"}, "creator", "there is no open account"),
    ],
)
def test_bad_values_are_refused_by_name_with_the_remedy(given: Any, field: str, words: str, clock: Any) -> None:
    actor = acting(person(), "change_todo") if field == "creator" else acting(person())
    assert words in refused(actor, **given)[field]
    assert not Todo.objects.exists()


def test_a_person_cannot_put_a_task_into_a_project_of_others(clock: Any) -> None:
    project = Project.objects.create(name="Board")
    assert "there is no project 'Board'" in refused(acting(person()), project="Board")["project"]
    assert "there is no project" in refused(acting(person()), project=project.pk)["project"]


def test_the_project_that_a_task_has_may_be_given_again_by_anybody(clock: Any) -> None:
    ada, bob = person(), person()
    project = Project.objects.create(name="Board")
    row = todo(ada, assignees=[bob], project=project)
    assert operators.change_todo(acting(bob), row.pk, {"project": "Board", "notes": "x"}).project == project
    with pytest.raises(SettingsRefused):
        operators.change_todo(acting(bob), row.pk, {"project": Project.objects.create(name="Other").pk})


def test_a_rule_for_somebody_without_a_part_in_the_task_is_refused(clock: Any) -> None:
    out = person()
    assert (
        "has no part in the task" in refused(acting(person()), rules=[{"offset": "PT0S", "person": str(out)}])["rules"]
    )


def test_a_change_is_recorded_with_what_was_before(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    row = todo(ada, **DUE)
    operators.change_todo(acting(ada), row.pk, {"due": "2026-03-04", "assignees": ["bob"], "title": row.title})
    assert AuditEntry.objects.get(action="todo.change").detail == {
        "due_date": ["2026-03-02", "2026-03-04"],
        "due_time": ["09:00:00", None],
        "assignees": [[], ["bob"]],
    }
    assert PlannedReminder.objects.filter(recipient=bob).exists()
    with pytest.raises(SettingsRefused, match="the start is after it is due"):
        operators.change_todo(acting(ada), row.pk, {"start_date": "2026-03-05"})


def test_done_given_up_and_opened_again(clock: Any) -> None:
    ada = person()
    row = todo(ada, **DUE)
    actor = acting(ada)
    assert operators.complete_todo(actor, row.pk).todo.done_by == ada
    operators.complete_todo(actor, row.pk)
    with pytest.raises(TodoRefused, match="is done already; reopen it first"):
        operators.cancel_todo(actor, row.pk)
    assert operators.reopen_todo(actor, row.pk).is_open
    assert operators.cancel_todo(actor, row.pk).todo.cancelled
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["todo.complete", "todo.reopen", "todo.cancel"]


@pytest.mark.parametrize(
    ("until", "instant"),
    [
        ("PT1H", "2026-03-28 13:00"),
        ("P1D", "2026-03-29 11:00"),  # the clocks went forward, and it is 13:00 again
        ("2026-03-29", "2026-03-29 06:30"),
        ("2026-03-29T09:00", "2026-03-29 07:00"),
        ("2026-03-29T09:00+00:00", "2026-03-29 09:00"),
    ],
)
def test_a_snooze_is_of_the_persons_own_clock(until: str, instant: str, clock: Any) -> None:
    ada = person(time_zone="Europe/Berlin", anchor_time=time(8, 30))
    row = todo(ada, **DUE)
    clock("2026-03-28 12:00")
    assert operators.snooze_todo(acting(ada), row.pk, until).until == at(instant)
    assert PlannedReminder.objects.get(kind="snooze:0").fire_at == at(instant)


@pytest.mark.parametrize(
    "until", ["", "soon", "-PT1H", "PT0S", "P99999999D", "2020-01-01", "9999-12-31", 7, None, "x" * 99]
)
def test_a_snooze_until_nonsense_is_refused(until: Any, clock: Any) -> None:
    ada = person()
    with pytest.raises(SettingsRefused) as caught:
        operators.snooze_todo(acting(ada), todo(ada, **DUE).pk, until)
    assert list(caught.value.errors) == ["until"]
    assert not PlannedReminder.objects.filter(kind="snooze:0").exists()


def test_an_operator_snoozes_for_whoever_is_responsible(clock: Any) -> None:
    ada, bob, ops = person(), person(), person()
    row = todo(ada, assignees=[bob], **DUE)
    with pytest.raises(PermissionDenied):
        operators.snooze_todo(acting(ada), row.pk, "PT1H", str(bob))
    assert operators.snooze_todo(acting(ops, "change_todo"), row.pk, "PT1H").people == [str(bob)]
    assert operators.snooze_todo(command_actor(), row.pk, "PT1H", str(ada)).people == [str(ada)]
    with pytest.raises(SettingsRefused, match="has no part in the task"):
        operators.snooze_todo(command_actor(), row.pk, "PT1H", str(ops))


def test_lists_are_narrowed_by_each_filter(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    house = Project.objects.create(name="House")
    late = todo(ada, title="Paint the fence", tags=["home"], due_date=date(2026, 2, 1), project=house)
    soon = todo(ada, title="Mow", assignees=[bob], priority=4, due_date=date(2026, 3, 2))
    done = todo(bob, title="Sweep", watchers=[ada])
    operators.complete_todo(acting(bob), done.pk)
    given_up = todo(ada, title="Dig", notes="a pond beside the fence")
    operators.cancel_todo(acting(ada), given_up.pk)
    actor = acting(ada)

    def found(**filters: Any) -> list[Todo]:
        return list(operators.todos(actor, **filters).order_by("pk"))

    assert found() == [late, soon, done, given_up]
    assert found(state="open") == [late, soon]
    assert found(state="done") == [done]
    assert found(state="cancelled") == [given_up]
    assert found(overdue=True) == [late]
    assert found(overdue=False, state="open") == [soon]
    assert found(due_after=at("2026-03-01 00:00"), due_before=at("2026-04-01 00:00")) == [soon]
    assert found(project="House") == [late]
    assert found(assignee="bob") == [soon]
    assert found(watcher="ada") == [done]
    assert found(creator="bob") == [done]
    assert found(tag="home") == [late]
    assert found(priority="urgent") == [soon]
    assert found(search="fence") == [late, given_up]
    assert found(search='"paint the" -pond') == [late]
    assert found(search="nul \x00") == found(tag="\ud800") == []
    assert found(mine=True) == [late, given_up]
    assert found(mine=False) == [soon, done]


def test_a_list_takes_as_many_queries_for_many_as_for_one(clock: Any) -> None:
    ada = person()
    actor = acting(ada)

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            for row in operators.todos(actor)[:50]:
                [str(row.project), str(row.creator), list(row.assignees.all()), list(row.watchers.all())]
        return len(seen)

    todo(ada, ReminderRule(offset="PT0S"), assignees=[ada])
    actor.may("reminders.view_todo")  # permissions are read once
    one = queries()
    for _ in range(5):
        todo(ada, assignees=[ada, person()], watchers=[person()])
    assert queries() == one


def test_several_are_done_at_once_and_what_is_not_is_told(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    mine, other, closed = todo(ada, **DUE), todo(bob), todo(ada)
    actor = acting(ada)
    operators.cancel_todo(actor, closed.pk)

    outcome = operators.assign_each(actor, [mine.pk, other.pk], ["bob"])
    assert (outcome.done, outcome.skipped) == ([mine.pk], [f"{other.pk}: there is no task {other.pk}"])
    outcome = operators.snooze_each(actor, [mine.pk, closed.pk], "P1D")
    assert outcome.done == [mine.pk]
    assert "is closed; reopen it" in outcome.skipped[0]
    outcome = operators.complete_each(actor, [mine.pk, mine.pk, closed.pk])
    assert outcome.done == [mine.pk]
    assert operators.delete_each(actor, [mine.pk, other.pk]).done == [mine.pk]
    with pytest.raises(SettingsRefused, match="up to 1,000 at once"):
        operators.complete_each(actor, range(1001))


@pytest.mark.parametrize(
    "deed",
    [
        lambda actor, number: operators.change_todo(actor, number, {"title": "Other"}),
        operators.complete_todo,
        operators.reopen_todo,
        lambda actor, number: operators.snooze_todo(actor, number, "PT1H"),
        operators.delete_todo,
        lambda actor, number: rules.add_rule(actor, number, {"offset": "-PT1H"}),
    ],
)
def test_a_task_that_somebody_deletes_after_it_was_looked_up_is_not_there(
    deed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = todo(ada := person(), **DUE)
    looked_up = access.require_todo

    def then_deleted(actor: Actor, todo_id: int, need: access.Need) -> Todo:
        found = looked_up(actor, todo_id, need)
        Todo.objects.filter(pk=todo_id).delete()
        return found

    monkeypatch.setattr(access, "require_todo", then_deleted)
    # Asked for after the task is gone.
    monkeypatch.setattr(parts, "has_part", lambda user_id, todo_id: True)
    with pytest.raises(NotHere, match=f"no task {row.pk}"):
        deed(acting(ada), row.pk)
    assert not AuditEntry.objects.exists()
