"""Two people edit the same at once: a form saves what its user changed, and puts back nothing of what others did."""

from datetime import date, time
from typing import Any

import pytest

from jobs.models import AuditEntry
from jobs.operators.actors import Actor
from jobs.tests.admin_helpers import client_with, page_of
from reminders.models import Channel, Preferences, Project, ReminderRule, Todo
from reminders.operators import access
from reminders.operators import todos as operators
from reminders.services import todos as services
from reminders.tests.factories import person, todo
from reminders.tests.opened_forms import form_in, opened
from reminders.tests.test_pages_account import logged_in

pytestmark = pytest.mark.django_db

ALL = tuple(
    f"reminders.{name}"
    for name in (
        *("view_todo", "change_todo", "view_project", "change_project"),
        *("view_preferences", "change_preferences", "view_channel", "change_channel"),
    )
)
BEFORE = {"title": "Water", "notes": "one\ntwo", "due_date": date(2026, 3, 5), "rrule": "FREQ=WEEKLY;BYDAY=MO"}
MEANWHILE = {
    "notes": "three",
    "tags": ["garden"],
    "due_date": date(2026, 4, 6),
    "due_time": time(17, 30),
    "time_zone": "Asia/Tokyo",
    "priority": 4,
    "rrule": "FREQ=WEEKLY;BYDAY=TU",
    "repeat_from": "completion",
    "overdue_reminders": False,
}


@pytest.fixture
def anna(clock: Any) -> Any:
    return person("anna")


def edit_of(place: str, row: Todo) -> str:
    return page_of("reminders_todo", "edit", row.pk) if place == "admin" else f"/todos/{row.pk}/edit/"


def client_of(place: str, user: Any) -> Any:
    return client_with(*ALL) if place == "admin" else logged_in(user)


def names(people: Any) -> list[str]:
    return sorted(people.values_list("username", flat=True))


@pytest.mark.parametrize("place", ["admin", "pages"])
def test_a_task_keeps_what_others_changed_since_its_form_was_opened(place, anna):
    bob, eve = person("bob"), person("eve")
    row = todo(anna, assignees=[bob], watchers=[bob], **BEFORE)
    client = client_of(place, anna)
    form = opened(client, edit_of(place, row))
    Todo.objects.filter(pk=row.pk).update(**MEANWHILE, project=Project.objects.create(name="House"))
    row.assignees.set([eve])
    row.watchers.set([])

    assert client.post(edit_of(place, row), {**form, "title": "Feed"}).status_code == 302

    row.refresh_from_db()
    assert {name: getattr(row, name) for name in MEANWHILE} == MEANWHILE
    assert (row.title, row.project.name, names(row.assignees), names(row.watchers)) == ("Feed", "House", ["eve"], [])
    assert set(AuditEntry.objects.get(action="todo.change").detail) == {"title"}


@pytest.mark.parametrize("place", ["admin", "pages"])
def test_of_a_field_that_both_changed_the_later_save_counts_and_of_lists_each_name(place, anna):
    bob, eve = person("bob"), person("eve")
    row = todo(anna, assignees=[anna, bob], **BEFORE)
    client = client_of(place, anna)
    form = opened(client, edit_of(place, row))
    Todo.objects.filter(pk=row.pk).update(notes="theirs", tags=["theirs"])
    row.assignees.set([anna, bob, eve])

    client.post(edit_of(place, row), {**form, "notes": "mine", "tags": "mine", "assignees": "anna"})

    row.refresh_from_db()
    assert (row.notes, row.tags, names(row.assignees)) == ("mine", ["theirs", "mine"], ["anna", "eve"])


@pytest.mark.parametrize("place", ["admin", "pages"])
def test_a_form_that_was_refused_still_knows_what_it_showed_at_first(place, anna):
    row = todo(anna, **BEFORE)
    client = client_of(place, anna)
    form = opened(client, edit_of(place, row))
    Todo.objects.filter(pk=row.pk).update(**MEANWHILE)

    again = form_in(client.post(edit_of(place, row), {**form, "title": "", "tags": "mine"}).content.decode())
    client.post(edit_of(place, row), {**again, "title": "Feed"})

    row.refresh_from_db()
    assert {name: getattr(row, name) for name in MEANWHILE} == {**MEANWHILE, "tags": ["garden", "mine"]}
    assert row.title == "Feed"


@pytest.mark.parametrize("shown", ["", "{", "[]", '{"title": ["Water"], "tags": 1, "assignees": {}}', None])
@pytest.mark.parametrize("place", ["admin", "pages"])
def test_a_form_without_what_it_showed_is_compared_with_what_is_stored(place, shown, anna):
    row = todo(anna, assignees=[anna], tags=["home"], **BEFORE)
    client = client_of(place, anna)
    form = {**opened(client, edit_of(place, row)), "shown": shown}
    if shown is None:
        del form["shown"]

    assert client.post(edit_of(place, row), {**form, "title": "Feed", "tags": ""}).status_code == 302

    row.refresh_from_db()
    assert (row.title, row.tags, names(row.assignees)) == ("Feed", [], ["anna"])
    assert set(AuditEntry.objects.get(action="todo.change").detail) == {"title", "tags"}


@pytest.mark.parametrize("place", ["admin", "pages"])
def test_whom_somebody_adds_while_a_form_is_read_stays(place, anna, monkeypatch):
    bob, eve = person("bob"), person("eve")
    row = todo(anna, assignees=[anna], watchers=[anna], **BEFORE)
    client = client_of(place, anna)
    form = opened(client, edit_of(place, row))
    _before(monkeypatch, services, "locked", lambda: (row.assignees.add(eve), row.watchers.remove(anna)))

    client.post(edit_of(place, row), {**form, "assignees": "anna, bob", "watchers": "anna, bob"})

    assert names(row.assignees) == ["anna", "bob", "eve"]
    assert names(row.watchers) == ["bob"]
    assert bob.assigned_todos.get() == row


def test_tags_that_somebody_adds_while_a_form_is_read_stay(anna, monkeypatch):
    row = todo(anna, tags=["home"], **BEFORE)
    client = client_of("pages", anna)
    form = opened(client, edit_of("pages", row))
    theirs = Todo.objects.filter(pk=row.pk)
    _before(monkeypatch, services, "locked", lambda: theirs.update(tags=["home", "theirs"]))

    client.post(edit_of("pages", row), {**form, "tags": "home, mine"})

    row.refresh_from_db()
    assert row.tags == ["home", "theirs", "mine"]


def test_whom_somebody_assigns_while_several_tasks_are_assigned_stays(anna, monkeypatch):
    eve, row = person("eve"), todo(anna, assignees=[anna])
    person("bob")
    _before(monkeypatch, services, "locked", lambda: row.assignees.add(eve))

    assert operators.assign_each(Actor.of_user(anna, "api"), [row.pk], ["bob"]).done == [row.pk]

    assert names(row.assignees) == ["anna", "bob", "eve"]


def test_whom_somebody_makes_a_member_while_a_form_is_read_stays(anna, monkeypatch):
    eve, row = person("eve"), Project.objects.create(name="House")
    person("bob")
    row.members.set([anna])
    client, path = client_with(*ALL), page_of("reminders_project", "edit", row.pk)
    form = opened(client, path)
    _before(monkeypatch, access, "require_project", lambda: row.members.add(eve), at=2)

    client.post(path, {**form, "members": "anna, bob"})

    assert names(row.members) == ["anna", "bob", "eve"]


def _before(monkeypatch: Any, module: Any, name: str, deed: Any, at: int = 1) -> None:
    """Have somebody else do something just before a function is called for the nth time."""
    real, calls = getattr(module, name), []

    def called(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == at:
            deed()
        return real(*args)

    monkeypatch.setattr(module, name, called)


def test_a_project_keeps_the_members_that_were_added_and_loses_those_that_were_taken_off(anna):
    people = [anna, person("bob"), person("carl")]
    row = Project.objects.create(name="House")
    row.members.set(people)
    client, path = client_with(*ALL), page_of("reminders_project", "edit", row.pk)
    form = opened(client, path)
    row.members.set([*people[:2], person("dora")])

    client.post(path, {**form, "name": "Home"})
    assert names(row.members) == ["anna", "bob", "dora"]
    person("eve")
    client.post(path, {**form, "members": "anna, carl, eve"})

    row.refresh_from_db()
    assert (row.name, names(row.members)) == ("Home", ["anna", "dora", "eve"])


@pytest.mark.parametrize("place", ["admin", "pages"])
def test_preferences_keep_what_was_set_since_their_form_was_opened(place, anna):
    row = Preferences.objects.create(user=anna, time_zone="UTC")
    client = client_of(place, anna)
    path = page_of("reminders_preferences", "edit", row.pk) if place == "admin" else "/preferences/"
    form = opened(client, path)
    meanwhile = {
        "time_zone": "Asia/Tokyo",
        "quiet_from": time(22),
        "quiet_until": time(7),
        "urgent_bypasses_quiet": not row.urgent_bypasses_quiet,
        "digest_from": 10,
    }
    Preferences.objects.filter(pk=row.pk).update(**meanwhile)

    assert client.post(path, {**form, "anchor_time": "06:15"}).status_code == 302

    row.refresh_from_db()
    assert {name: getattr(row, name) for name in meanwhile} == meanwhile
    assert row.anchor_time == time(6, 15)


def test_a_channel_that_was_switched_off_meanwhile_stays_off(anna):
    secret = "whsec_" + "A" * 32
    row = Channel.objects.create(user=anna, kind="webhook", address="https://x.example/", secret=secret)
    client, path = client_with(*ALL), page_of("reminders_channel", "edit", row.pk)
    form = opened(client, path)
    Channel.objects.filter(pk=row.pk).update(enabled=False)

    client.post(path, {**form, "label": "nights"})

    row.refresh_from_db()
    assert (row.label, row.enabled) == ("nights", False)
    assert secret not in str(form)


@pytest.mark.parametrize("model", ["todo", "defaultrule"])
def test_a_rule_keeps_what_was_changed_since_its_form_was_opened(model, anna):
    rule = ReminderRule(offset="-PT1H")
    if model == "todo":
        row = todo(anna, rule, due_date=date(2026, 3, 5), start_date=date(2026, 3, 4))
        path = page_of("reminders_todo", "rule_edit", row.pk, rule.pk)
    else:
        rule.person = anna
        rule.save()
        path = page_of("reminders_defaultrule", "edit", rule.pk)
    client = client_with(*ALL)
    form = opened(client, path)
    ReminderRule.objects.filter(pk=rule.pk).update(anchor="start")

    client.post(path, {**form, "offset": "-P1D"})

    rule.refresh_from_db()
    assert (rule.offset, rule.anchor) == ("-P1D", "start")
