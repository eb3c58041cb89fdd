"""/api/v1/todos/, projects and rules: for any person, each sees their own; bad input is named."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.models import AuditEntry
from jobs.tests.api_client import caller, post, problem
from jobs.tests.api_client import person as operator
from reminders.models import PlannedReminder, Project, ReminderRule, Todo
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

V1 = "/api/v1/"


def patch(client: Any, path: str, body: Any) -> Any:
    return client.patch(path, body, content_type="application/json")


def test_a_task_is_added_shown_changed_done_and_deleted(clock: Any) -> None:
    person("bob")
    api = caller(person("ada", time_zone="Europe/Berlin"))
    body = {"title": "Water", "due": "2026-03-02T09:00", "assignees": ["bob"], "rules": [{"offset": "-PT1H"}]}
    made = post(api, f"{V1}todos/", body)
    assert made.status_code == 201
    shown = made.json()
    url = made["Location"].removeprefix("http://testserver")
    assert url == f"{V1}todos/{shown['id']}/"
    assert {name: shown[name] for name in ("state", "creator", "assignees", "due_time", "due_at", "priority")} == {
        "state": "open",
        "creator": "ada",
        "assignees": ["bob"],
        "due_time": "09:00",
        "due_at": "2026-03-02T08:00:00Z",
        "priority": "none",
    }
    assert api.get(url).json() == shown
    assert [rule["words"] for rule in api.get(f"{url}rules/").json()["results"]] == ["1 hour before it is due"]
    assert patch(api, url, {"priority": "high", "due_time": None}).json()["priority"] == "high"
    snoozed = post(api, f"{url}snooze/", {"until": "P1D"}).json()
    assert snoozed == {"todo": shown["id"], "until": "2026-03-02T00:00:00Z", "people": ["ada"]}
    assert post(api, f"{url}complete/").json() | {"updated_at": ""} == api.get(url).json() | {
        "successor": None,
        "skipped": 0,
        "updated_at": "",
    }
    assert post(api, f"{url}reopen/").json()["state"] == "open"
    assert post(api, f"{url}cancel/").json()["state"] == "cancelled"
    assert problem(post(api, f"{url}complete/"), 409)["detail"].endswith("is cancelled already; reopen it first")
    assert problem(post(api, f"{url}snooze/", {"until": "PT1H"}), 409)["type"].endswith("task-refused")
    assert api.delete(url).status_code == 204
    assert problem(api.get(url), 404)["detail"] == f"there is no task {shown['id']}"
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert actions[-6:] == ["todo.change", "todo.snooze", "todo.complete", "todo.reopen", "todo.cancel", "todo.delete"]
    assert set(AuditEntry.objects.values_list("actor", "via")) >= {("ada", "api")}


def test_a_day_without_a_time_is_begun_at_its_start_and_due_by_its_end(clock: Any) -> None:
    api = caller(person("ada", time_zone="America/New_York"))
    made = post(api, f"{V1}todos/", {"title": "Paint", "start_date": "2027-01-01", "due_date": "2027-01-03"}).json()
    assert (made["start_at"], made["due_at"]) == ("2027-01-01T05:00:00Z", "2027-01-04T05:00:00Z")


def test_who_may_do_what(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    row = todo(ada, assignees=[bob])
    url = f"{V1}todos/{row.pk}/"
    out = caller(person("out"))
    for path in (url, f"{url}rules/"):
        problem(out.get(path), 404)
    for deed in ("complete/", "snooze/", "cancel/", "reopen/", "rules/"):
        problem(post(out, url + deed, {"until": "PT1H"} if deed == "snooze/" else {}), 404)
    problem(caller(bob).delete(url), 403)
    problem(post(caller(ada), f"{url}snooze/", {"until": "PT1H", "person": "bob"}), 403)
    auditor = caller(operator("auditor", "reminders.view_todo"))
    assert auditor.get(url).status_code == 200
    problem(patch(auditor, url, {"title": "No"}), 403)
    boss = caller(operator("boss", "reminders.view_todo", "reminders.change_todo"))
    assert patch(boss, url, {"title": "Yes"}).json()["title"] == "Yes"
    from django.test import Client

    problem(Client().get(url), 401)
    bob.is_active = False
    bob.save()
    assert Todo.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/title"),
        ({"title": "x", "due": "2026-02-30"}, "#/due_date"),
        ({"title": "x", "due": 7}, "#/due_date"),
        ({"title": {"a": 1}}, "#/title"),
        ({"title": "x", "colour": 1}, "#/colour"),
        ({"title": "x", "assignees": ["nobody"]}, "#/assignees"),
        ({"title": "x", "project": "Secret"}, "#/project"),
        ({"title": "x", "rrule": "FREQ=SECONDLY", "due": "2026-03-02"}, "#/rrule"),
        ({"title": "x", "rrule": "FREQ=DAILY;UNTIL=20260301", "due": "2026-03-02"}, "#/rrule"),
        ({"title": "x", "rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "due": "2026-03-02"}, "#/rrule"),
        ({"title": "x", "rules": [{"offset": "P99999999999D"}]}, "#/rules"),
        ([1], "#"),
        ('"text"', "#"),
    ],
)
def test_bad_bodies_are_named(body: Any, pointer: str, clock: Any) -> None:
    answer = problem(caller(person()).post(f"{V1}todos/", body, content_type="application/json"), 400)
    assert [error["pointer"] for error in answer["errors"]] == [pointer], answer
    assert not Todo.objects.exists()


def test_a_date_is_not_moved_past_the_end_of_its_series(clock: Any) -> None:
    ada = person()
    row = todo(ada, due_date=at("2026-03-30 00:00").date(), rrule="FREQ=DAILY;UNTIL=20260331")
    api = caller(ada)

    answer = problem(patch(api, f"{V1}todos/{row.pk}/", {"due": "2026-04-01"}), 400)

    assert [error["pointer"] for error in answer["errors"]] == ["#/due_date"]
    assert "2026-04-01 is after UNTIL=20260331 of its rule; write a later UNTIL" in str(answer["errors"])
    assert patch(api, f"{V1}todos/{row.pk}/", {"due": "2026-03-31"}).status_code == 200
    longer = {"due": "2026-04-01", "rrule": "FREQ=DAILY;UNTIL=20260401"}
    assert patch(api, f"{V1}todos/{row.pk}/", longer).status_code == 200


@pytest.mark.parametrize("until", ["soon", "", None, 7, "-P1D", "P99999D", ["PT1H"], "9999-12-31T23:59"])
def test_a_snooze_until_nonsense_is_refused(until: Any, clock: Any) -> None:
    ada = person()
    answer = problem(post(caller(ada), f"{V1}todos/{todo(ada).pk}/snooze/", {"until": until}), 400)
    assert [error["pointer"] for error in answer["errors"]] == ["#/until"]


def test_lists_have_pages_filters_and_orders(clock: Any) -> None:
    ada = person("ada")
    api = caller(ada)
    clock("2026-03-10 00:00")
    rows = [
        todo(ada, title=f"Task {day}", tags=["home"], due_date=at(f"2026-03-{day:02} 00:00")) for day in (9, 20, 12)
    ]
    rows.append(todo(ada, title="Undated"))
    todo(person(), title="Foreign")

    def titles(query: str) -> list[str]:
        return [row["title"] for row in api.get(f"{V1}todos/?{query}").json()["results"]]

    assert titles("") == ["Undated", "Task 12", "Task 20", "Task 9"]
    assert titles("order=due") == ["Task 9", "Task 12", "Task 20"]
    assert titles("overdue=true") == ["Task 9"]
    assert titles("due_after=2026-03-10T00:01Z&due_before=2026-03-15T00:00Z") == ["Task 12"]
    assert titles("search=undated&mine=true&state=open&priority=none&creator=ada") == ["Undated"]
    assert titles("tag=home&project=Nowhere") == []
    for order, expected in (("created", 4), ("due", 3)):
        seen, url = [], f"{V1}todos/?page_size=2&order={order}"
        while url:
            page = api.get(url).json()
            seen += [row["id"] for row in page["results"]]
            url = page["next"]
        assert len(seen) == len(set(seen)) == expected
    for query, name in (
        ("state=odd", "state"),
        ("colour=red", "colour"),
        ("order=size", "order"),
        ("due_after=soon", "due_after"),
        ("cursor=zzz", "cursor"),
        ("priority=9", "priority"),
    ):
        assert problem(api.get(f"{V1}todos/?{query}"), 400)["errors"][0]["pointer"] == f"#/{name}"


def test_a_page_takes_as_many_queries_for_many_as_for_one(clock: Any) -> None:
    ada = person("ada")
    api = caller(ada)
    project = Project.objects.create(name="House")

    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert api.get(V1 + path).status_code == 200
        return len(seen)

    row = todo(ada, assignees=[ada], project=project)
    project.members.set([ada])
    ReminderRule.objects.create(todo=row, offset="PT0S")
    paths = ["todos/", "projects/", f"todos/{row.pk}/rules/"]
    queries("todos/")  # the token's first use is written down
    before = [queries(path) for path in paths]
    for number in range(5):
        todo(ada, assignees=[person(), person()], watchers=[ada], project=project)
        Project.objects.create(name=str(number)).members.set([ada, person()])
        ReminderRule.objects.create(todo=row, offset=f"-PT{number + 1}H", person=ada)
    assert [queries(path) for path in paths] == before


def test_an_idempotency_key_makes_one_task(clock: Any) -> None:
    api = caller(person("ada"))
    key = {"Idempotency-Key": "abc"}
    first = post(api, f"{V1}todos/", {"title": "Once"}, **key)
    again = post(api, f"{V1}todos/", {"title": "Once"}, **key)
    assert first.json() == again.json()
    assert again["Idempotent-Replayed"] == "true"
    problem(post(api, f"{V1}todos/", {"title": "Other"}, **key), 422)
    problem(post(api, f"{V1}todos/", {"title": ""}, **{"Idempotency-Key": "new"}), 400)
    assert post(api, f"{V1}todos/", {"title": "Then"}, **{"Idempotency-Key": "new"}).status_code == 201
    Todo.objects.filter(pk=first.json()["id"]).delete()
    problem(post(api, f"{V1}todos/", {"title": "Once"}, **key), 404)


def test_several_are_done_at_once(clock: Any) -> None:
    ada = person("ada")
    api = caller(ada)
    mine, other = todo(ada, due_date=at("2026-03-02 00:00")), todo(person())
    answer = post(api, f"{V1}todos/bulk/", {"action": "complete", "ids": [mine.pk, other.pk]}).json()
    assert answer == {"done": [mine.pk], "skipped": [f"{other.pk}: there is no task {other.pk}"]}
    for body, name in (
        ({"action": "snooze", "ids": [mine.pk]}, "until"),
        ({"action": "assign", "ids": [mine.pk], "people": ["nobody"]}, "people"),
        ({"action": "burn", "ids": [mine.pk]}, "action"),
        ({"action": "delete", "ids": []}, "ids"),
    ):
        assert problem(post(api, f"{V1}todos/bulk/", body), 400)["errors"][0]["pointer"] == f"#/{name}"


def test_rules_are_added_changed_enabled_and_deleted(clock: Any) -> None:
    ada = person("ada", time_zone="Europe/Berlin")
    api = caller(ada)
    row = todo(ada, due_date=at("2026-03-02 00:00"), overdue_reminders=False)
    made = post(api, f"{V1}todos/{row.pk}/rules/", {"at": "2026-03-01T10:00"}).json()
    assert (made["at_date"], made["at_time"], made["time_zone"]) == ("2026-03-01", "10:00", "Europe/Berlin")
    url = f"{V1}reminder-rules/{made['id']}/"
    assert patch(api, url, {"offset": "-P1D", "anchor": "due"}).json()["words"] == "1 day before it is due"
    assert PlannedReminder.objects.get().fire_at == at("2026-03-01 08:00")
    ReminderRule.objects.update(set_aside_at=at("2026-03-01 00:00"), set_aside_because="bad", failures=3)
    assert post(api, f"{url}enable/").json()["set_aside_because"] == ""
    for client in (caller(person()),):
        problem(client.get(url), 404)
        problem(client.delete(url), 404)
    assert problem(patch(api, url, {"at_date": "2026-03-01", "offset": "-P1D"}), 400)["errors"]
    assert api.delete(url).status_code == 204
    assert not PlannedReminder.objects.exists()


def test_default_rules_are_ones_own(clock: Any) -> None:
    person("bob")
    api = caller(person("ada"))
    made = post(api, f"{V1}reminder-rules/", {"offset": "-PT30M"})
    assert made.status_code == 201
    assert made.json()["person"] == "ada"
    assert problem(post(api, f"{V1}reminder-rules/", {"offset": "-PT30M"}), 400)["errors"][0]["pointer"] == "#/offset"
    problem(post(api, f"{V1}reminder-rules/", {"at": "2026-03-01T10:00"}), 400)
    problem(api.get(f"{V1}reminder-rules/?user=bob"), 403)
    assert len(api.get(f"{V1}reminder-rules/").json()["results"]) == 1
    boss = caller(operator("boss", "reminders.view_reminderrule"))
    assert boss.get(f"{V1}reminder-rules/?user=bob").json()["results"] == []
    problem(boss.get(f"{V1}reminder-rules/?user=nobody"), 404)


def test_projects_are_of_their_members(clock: Any) -> None:
    person("bob")
    api, out = caller(person("ada")), caller(person("out"))
    made = post(api, f"{V1}projects/", {"name": "House", "members": ["bob"]})
    assert made.json()["members"] == ["ada", "bob"]
    url = f"{V1}projects/{made.json()['id']}/"
    problem(out.get(url), 404)
    problem(api.delete(url), 403)
    assert out.get(f"{V1}projects/").json()["results"] == []
    assert problem(post(out, f"{V1}projects/", {"name": "House"}), 400)["errors"][0]["pointer"] == "#/name"
    problem(post(out, f"{V1}projects/", {"name": "x", "archived": "yes"}), 400)
    assert patch(api, url, {"archived": True, "members": ["ada"]}).json()["archived_at"]
    assert api.get(f"{V1}projects/?archived=true&search=ous").json()["results"][0]["open_todos"] == 0
    boss = caller(operator("boss", "reminders.view_project", "reminders.delete_project"))
    assert boss.delete(url).status_code == 204
