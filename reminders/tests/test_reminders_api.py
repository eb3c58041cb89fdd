"""/api/v1/reminders/, deliveries, channels, preferences, suppressions, and why somebody was or was not reminded."""

from datetime import date, time
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from jobs.models import AuditEntry, Job
from jobs.tests.api_client import caller, post, problem
from jobs.tests.api_client import person as operator
from reminders.models import Channel, Preferences, Reminder, ReminderDelivery, Suppression
from reminders.services import scanning
from reminders.tests.factories import person, todo

pytestmark = pytest.mark.django_db

V1 = "/api/v1/"
DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}
DEAD = {"state": "failed", "error": "550 no such user"}


def patch(client: Any, path: str, body: Any) -> Any:
    return client.patch(path, body, content_type="application/json")


def results(client: Any, path: str) -> list[Any]:
    answer = client.get(V1 + path)
    assert answer.status_code == 200, answer.content
    return list(answer.json()["results"])


def test_an_explanation_of_oneself_and_of_others(clock: Any) -> None:
    ada, bob = person("ada", time_zone="Europe/Berlin"), person("bob")
    row = todo(ada, watchers=[bob], **DUE)
    path = f"{V1}reminders/explain/?todo={row.pk}"
    told = caller(ada).get(path).json()
    assert told["summary"].startswith("The next reminder of ada is planned: Overdue: when it is due.")
    assert told["rules"][0] | {"sent": 0} == {
        "kind": "overdue:0",
        "what": "Overdue: when it is due",
        "applies": True,
        "words": "It fires on 2026-03-02 10:00 Europe/Berlin (09:00 UTC).",
        "next_at": "2026-03-02T09:00:00Z",
        "next_local": "2026-03-02 10:00 Europe/Berlin",
        "fired_at": None,
        "state": "",
        "held_until": None,
        "sent": 0,
        "earlier": [],
    }
    assert told["time_zone"] == "Europe/Berlin"
    problem(caller(ada).get(f"{path}&user=bob"), 403)
    problem(caller(person()).get(path), 404)
    boss = caller(operator("boss", "reminders.view_todo", "reminders.view_reminder"))
    assert boss.get(f"{path}&user=bob").json()["user"] == "bob"
    problem(boss.get(f"{path}&user=nobody%00"), 404)
    for bad in ("", "?todo=x", "?todo=-1", f"?todo={'9' * 40}"):
        problem(boss.get(f"{V1}reminders/explain/{bad}"), 400)


def test_reminders_and_deliveries_are_of_their_recipients_and_of_operators(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    row = todo(ada, assignees=[ada, bob], **DUE)
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    api = caller(ada)
    boss = caller(operator("boss", "reminders.view_reminder", "reminders.view_reminderdelivery"))
    for path in ("reminders/", "reminder-deliveries/"):
        assert [one["recipient"] for one in results(api, path)] == ["ada"]
        assert sorted(one["recipient"] for one in results(boss, path)) == ["ada", "bob"]
        assert [one["recipient"] for one in results(boss, f"{path}?recipient=bob&todo={row.pk}")] == ["bob"]
        theirs = next(one["id"] for one in results(boss, path) if one["recipient"] == "bob")
        problem(api.get(f"{V1}{path}{theirs}/"), 404)
        assert boss.get(f"{V1}{path}{theirs}/").json()["id"] == theirs
        assert problem(boss.get(f"{V1}{path}?state=odd"), 400)["errors"][0]["pointer"] == "#/state"
        problem(boss.get(f"{V1}{path}?colour=red"), 400)
    reminder = results(api, "reminders/?kind=overdue&state=outbox")[0]
    assert reminder["todo"] == row.pk
    delivery = results(api, "reminder-deliveries/?kind=mail&layout=single&state=pending")[0]
    assert (delivery["reminders"], delivery["message_id"]) == ([reminder["id"]], "")


def test_a_page_takes_as_many_queries_for_many_as_for_one(clock: Any) -> None:
    ada = person("ada")
    boss = caller(operator("boss", "reminders.view_reminder", "reminders.view_reminderdelivery"))

    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            results(boss, path)
        return len(seen)

    todo(ada, **DUE)
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    paths = ("reminders/", "reminder-deliveries/")
    queries(paths[0])
    before = [queries(path) for path in paths]
    clock("2026-03-01 09:00")
    for _ in range(5):
        todo(person(), **DUE)
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    assert [queries(path) for path in paths] == before
    assert Reminder.objects.count() == 6


def test_a_failed_delivery_is_sent_again_by_who_may(clock: Any) -> None:
    ada = person("ada")
    todo(ada, **DUE)
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    row = ReminderDelivery.objects.get()
    path = f"{V1}reminder-deliveries/{row.pk}/retry/"
    assert problem(post(caller(ada), path), 409)["type"].endswith("channel-refused")
    ReminderDelivery.objects.update(**DEAD)
    problem(post(caller(person()), path), 404)
    problem(post(caller(operator("auditor", "reminders.view_reminderdelivery")), path), 403)
    boss = caller(operator("boss", "reminders.view_reminderdelivery", "reminders.send_reminder"))
    assert post(boss, path).json()["state"] == "pending"
    assert AuditEntry.objects.get(action="delivery.retry").actor == "boss"


def test_a_scan_is_asked_for_by_who_may(clock: Any) -> None:
    problem(post(caller(person()), f"{V1}reminders/scan/"), 403)
    answer = post(caller(operator("boss", "reminders.send_reminder")), f"{V1}reminders/scan/")
    assert answer.status_code == 202
    assert Job.objects.get(pk=answer.json()["job"]).task == "reminders.send_due_soon"


def test_preferences_are_shown_changed_and_previewed(clock: Any) -> None:
    ada = person("ada")
    api = caller(ada)
    todo(ada, **DUE)
    path = f"{V1}reminder-preferences/"
    assert api.get(path).json() == {
        "user": "ada",
        "time_zone": "UTC",
        "anchor_time": "09:00",
        "quiet_from": None,
        "quiet_until": None,
        "urgent_bypasses_quiet": True,
        "digest_from": 4,
        "paused_until": None,
    }
    assert not Preferences.objects.exists()
    body = {"time_zone": "Europe/Berlin", "quiet_from": "09:30", "quiet_until": "11:00", "paused_until": None}
    assert patch(api, path, body).json()["quiet_from"] == "09:30"
    assert Job.objects.get(task="reminders.replan_person").args == [ada.pk]
    ahead = results(api, "reminder-preferences/preview/")
    assert [one["local"] for one in ahead] == ["2026-03-02T10:00:00+01:00", "2026-03-03T10:00:00+01:00"]
    assert (ahead[0]["held_until"], ahead[0]["why"]) == ("2026-03-02T10:00:00Z", "quiet hours")
    assert patch(api, path, {"paused_until": "P7D"}).json()["paused_until"] == "2026-03-08T00:00:00Z"
    assert results(api, "reminder-preferences/preview/")[0]["why"] == "reminders are paused"
    assert AuditEntry.objects.filter(action="preferences.change", target="ada").count() == 2


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"quiet_from": "22:00"}, "quiet_until"),
        ({"quiet_from": "22:00", "quiet_until": "22:00"}, "quiet_until"),
        ({"quiet_from": "00:00", "quiet_until": "00:00:00"}, "quiet_until"),
        ({"digest_from": 1}, "digest_from"),
        ({"digest_from": 10**30}, "digest_from"),
        ({"digest_from": -1}, "digest_from"),
        ({"anchor_time": None}, "anchor_time"),
        ({"anchor_time": ""}, "anchor_time"),
        ({"urgent_bypasses_quiet": "yes"}, "urgent_bypasses_quiet"),
        ({"paused_until": "2020-01-01"}, "paused_until"),
        ({"user": 7}, "user"),
    ],
)
def test_bad_preferences_are_named(body: Any, name: str, clock: Any) -> None:
    answer = problem(patch(caller(person()), f"{V1}reminder-preferences/", body), 400)
    assert [error["pointer"] for error in answer["errors"]] == [f"#/{name}"]
    assert not Preferences.objects.exists()


def test_quiet_hours_of_no_length_cannot_be_stored_and_older_ones_count_as_none() -> None:
    rows = Preferences.objects
    with pytest.raises(IntegrityError, match="preferences_quiet_length"), transaction.atomic():
        rows.create(user=person(), quiet_from=time(22), quiet_until=time(22))

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE reminders_preferences DROP CONSTRAINT preferences_quiet_length")
    rows.create(user=person(), quiet_from=time(22), quiet_until=time(22))
    rows.create(user=person(), quiet_from=time(22), quiet_until=time(7))
    rows.create(user=person())
    import_module("reminders.migrations.0011_quiet_hours_of_no_length").empty(apps, None)
    assert [row.quiet_from for row in rows.order_by("pk")] == [None, time(22), None]


def test_preferences_of_others_take_a_permission(clock: Any) -> None:
    person("ada")
    path = f"{V1}reminder-preferences/?user=ada"
    problem(caller(person()).get(path), 403)
    boss = caller(operator("boss", "reminders.view_preferences"))
    assert boss.get(path).json()["user"] == "ada"
    problem(patch(boss, path, {"digest_from": 0}), 403)
    problem(boss.get(f"{V1}reminder-preferences/?user=nobody"), 404)
    boss = caller(operator("boss2", "reminders.change_preferences"))
    assert patch(boss, path, {"digest_from": 0}).json()["digest_from"] == 0


def test_a_channel_is_entered_and_its_address_and_secret_are_never_told(clock: Any) -> None:
    ada = person("ada")
    api = caller(ada)
    path = f"{V1}reminder-channels/"
    hook = {"kind": "webhook", "address": "https://hooks.example.org/secret-path", "label": "on call"}
    made = post(api, path, hook)
    assert made.status_code == 201, made.content
    shown = made.json()
    assert shown["signing_secret"].startswith("whsec_")
    assert (shown["address"], shown["secret"]) == ({"set": True}, {"set": True})
    url = f"{path}{shown['id']}/"
    for answer in (api.get(url), api.get(path), patch(api, url, {"label": "hook"}), post(api, f"{url}enable/")):
        assert answer.status_code == 200
        assert "secret-path" not in answer.content.decode()
        assert "whsec_" not in answer.content.decode()
    other = post(api, f"{url}new-secret/").json()["signing_secret"]
    assert other.startswith("whsec_")
    assert other != shown["signing_secret"]
    assert problem(post(api, path, {"kind": "pigeon"}), 400)["errors"][0]["pointer"] == "#/kind"
    assert (
        problem(post(api, path, {"kind": "webhook", "address": "no url"}), 400)["errors"][0]["pointer"] == "#/address"
    )
    out = caller(person())
    for answer in (out.get(url), patch(out, url, {"label": "x"}), out.delete(url), post(out, f"{url}test/")):
        problem(answer, 404)
    problem(post(out, f"{path}?user=ada", hook), 403)
    assert api.delete(url).status_code == 204
    assert not Channel.objects.exists()
    assert "secret-path" not in str(list(AuditEntry.objects.values()))


def test_a_suppressed_address_is_listed_and_lifted(clock: Any) -> None:
    ada = person("ada")
    Channel.objects.create(user=ada, kind="mail")
    own = Suppression.objects.create(address="ada@example.org", reason="550 gone")
    foreign = Suppression.objects.create(address="bob@example.org", reason="550 gone")
    api = caller(ada)
    assert [row["address"] for row in results(api, "suppressions/")] == ["ada@example.org"]
    problem(api.delete(f"{V1}suppressions/{foreign.pk}/"), 404)
    assert api.delete(f"{V1}suppressions/{own.pk}/").status_code == 204
    boss = caller(operator("boss", "reminders.view_suppression"))
    assert len(results(boss, "suppressions/?search=BOB")) == 1
    problem(boss.delete(f"{V1}suppressions/{foreign.pk}/"), 403)


def test_what_comes_to_others_is_told_to_those_who_may_see_their_tasks(clock: Any) -> None:
    todo(person("ada"), title="Secret", **DUE)
    path = f"{V1}reminder-preferences/preview/?user=ada"

    problem(caller(operator("clerk", "reminders.view_preferences")).get(path), 403)

    boss = caller(operator("boss", "reminders.view_preferences", "reminders.view_todo"))
    assert boss.get(path).json()["results"][0]["title"] == "Secret"


def test_who_may_add_channels_and_see_none_is_told_of_the_one_that_they_made(clock: Any) -> None:
    person("ada")
    clerk = caller(operator("clerk", "reminders.add_channel"))
    body = {"kind": "webhook", "address": "https://hooks.example.org/x"}

    answer = post(clerk, f"{V1}reminder-channels/?user=ada", body)

    assert answer.status_code == 201, answer.content
    assert answer.json()["signing_secret"].startswith("whsec_")
    problem(clerk.get(f"{V1}reminder-channels/{answer.json()['id']}/"), 404)
