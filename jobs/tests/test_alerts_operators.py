"""Alerts in the admin, REST and the command: one service, its permissions and its audit entries."""

import json
from datetime import timedelta
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from config.environment import mail_server
from jobs import retention
from jobs.models import Alert, AlertDelivery, AlertEvent, AuditEntry
from jobs.tests.admin_helpers import client_with, opened, page_of, said
from jobs.tests.api_client import caller, person, post, problem, root
from jobs.watch import delivering

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _as_installed(db: None) -> None:
    """A test that commits empties the tables at its end, of what migrations put into them, too."""
    migration = import_module("jobs.migrations.0008_alerts")
    Alert.objects.all().delete()
    migration.make_alerts(apps, None)


V1 = "/api/v1/alerts/"
LIST = "/admin/jobs/alert/"
URL = "https://hooks.example.com/services/secret-path"
SPEC = {"name": "Reviews", "kind": "failed", "task": "selftest.fail", "threshold": 5, "mail_to": ["ann@example.org"]}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "deliver_soon", lambda: None)


def make_alert(name: str = "Failures", **fields: Any) -> Alert:
    return Alert.objects.create(**{"name": name, "kind": "failed", "threshold": 3, **fields})


def fire(alert: Alert) -> AlertEvent:
    now = timezone.now()
    Alert.objects.filter(pk=alert.pk).update(breached_since=now, firing_since=now, fired_at=now, value=7)
    event = alert.events.create(kind="fired", value=7, text="7 jobs failed.")
    event.deliveries.create(channel="webhook", error="Refused: the far side answered 404", attempts=3)
    return event


def test_two_alerts_come_with_the_installation() -> None:
    assert set(Alert.objects.values_list("name", "kind", "enabled")) == {
        ("Failed jobs", "failed", True),
        ("Backlog", "oldest", True),
    }


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ("", 25, "", "", False, False)),
        ("smtp://localhost:2525", ("localhost", 2525, "", "", False, False)),
        ("smtp+tls://ann:p%40ss@mail.example.org", ("mail.example.org", 587, "ann", "p@ss", True, False)),
        ("smtp+ssl://mail.example.org", ("mail.example.org", 465, "", "", False, True)),
    ],
)
def test_a_mail_server_is_named_by_url(url: str, expected: tuple[Any, ...]) -> None:
    assert tuple(mail_server(url)) == expected


# --- REST ------------------------------------------------------------------------------------------------------------


def test_an_alert_is_made_changed_switched_and_deleted(api: Client) -> None:
    made = post(api, V1, {**SPEC, "webhook_url": URL})
    assert made.status_code == 201, made.content
    alert = made.json()
    path = f"{V1}{alert['id']}/"
    assert made["Location"] == path
    assert (alert["state"], alert["window_seconds"], alert["mail_to"]) == ("ok", 900, ["ann@example.org"])
    assert alert["webhook"] == "https://hooks.example.com/…"

    changed = api.patch(path, {"threshold": 9, "webhook_url": ""}, content_type="application/json").json()
    assert (changed["threshold"], changed["webhook"], changed["changed_by"]) == (9, "", "root")
    assert post(api, f"{path}disable/").json()["state"] == "disabled"
    assert post(api, f"{path}enable/").json()["state"] == "ok"
    assert [row["name"] for row in api.get(V1).json()["results"]] == ["Backlog", "Failed jobs", "Reviews"]
    assert api.delete(path).status_code == 204
    problem(api.get(path), 404)
    actions = list(
        AuditEntry.objects.filter(action__startswith="alert").order_by("pk").values_list("action", flat=True)
    )
    assert actions == ["alert.create", "alert.change", "alert.change", "alert.change", "alert.delete"]


def test_a_webhooks_path_and_secret_are_shown_nowhere(api: Client) -> None:
    path = f"{V1}{post(api, V1, {**SPEC, 'webhook_url': URL}).json()['id']}/"
    alert = Alert.objects.get(name="Reviews")
    fire(alert)
    admin = client_with("jobs.view_alert", "jobs.change_alert")
    pages = [page_of("jobs_alert"), *(page_of("jobs_alert", page, alert.pk) for page in ("change", "edit"))]
    texts = [api.get(path).content, api.get(V1).content, *(admin.get(page).content for page in pages)]
    texts += [json.dumps(list(AuditEntry.objects.values("detail"))).encode(), command("show", "Reviews").encode()]

    assert not [text for text in texts if b"secret-path" in text]
    answer = post(api, f"{path}secret/")
    assert answer["Cache-Control"] == "no-store"
    secret = answer.json()["secret"]
    assert secret.startswith("whsec_")
    assert not [text for text in texts if secret.encode() in text]
    assert post(api, f"{path}secret/", {"rotate": True}).json()["secret"] != secret
    entries = AuditEntry.objects.filter(action__contains="secret").values_list("action", "detail")
    assert {action for action, _ in entries} == {"alert.show_secret", "alert.rotate_secret"}
    assert secret not in str(list(entries))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "lost"}, "kind"),
        ({"queue": "fast"}, "queue"),
        ({"task": "nope"}, "task"),
        ({"kind": "oldest"}, "task"),
        ({"threshold": 0}, "threshold"),
        ({"threshold": "5"}, "threshold"),
        ({"threshold": 10**12}, "threshold"),
        ({"window_seconds": 1}, "window_seconds"),
        ({"for_seconds": -1}, "for_seconds"),
        ({"cooldown_seconds": 10**9}, "cooldown_seconds"),
        ({"mail_to": ["ann"]}, "mail_to"),
        ({"mail_to": ["a@b.org\r\nBcc: c@d.org"]}, "mail_to"),
        ({"mail_to": "ann@example.org"}, "mail_to"),
        ({"webhook_url": "ftp://x/"}, "webhook_url"),
        ({"webhook_url": "https://u:p@x/"}, "webhook_url"),
        ({"webhook_url": "http://[::1/"}, "webhook_url"),
        ({"webhook_url": "http://x:99999/"}, "webhook_url"),
        ({"webhook_url": "http://x/\r\nA: b"}, "webhook_url"),
        ({"name": ""}, "name"),
        ({"name": "7"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "Backlog"}, "name"),
        ({"enabled": 1}, "enabled"),
        ({"thresholds": 1}, "thresholds"),
    ],
)
def test_what_cannot_be_is_refused_by_name(api: Client, change: dict[str, Any], named: str) -> None:
    answer = problem(post(api, V1, {**SPEC, **change}), 400)

    assert named in json.dumps(answer)
    assert Alert.objects.count() == 2


def test_events_are_paged_and_tell_what_became_of_each_message(api: Client) -> None:
    alert = make_alert()
    fire(alert)
    for _ in range(3):
        alert.events.create(kind="recovered", text="0 jobs failed.")

    shown = api.get(f"{V1}{alert.pk}/").json()
    assert (shown["state"], shown["value"], len(shown["events"])) == ("firing", 7, 4)
    assert shown["events"][-1]["deliveries"][0]["error"] == "Refused: the far side answered 404"
    page = api.get(f"{V1}{alert.pk}/events/?page_size=3").json()
    rest = api.get(page["next"]).json()
    assert [event["kind"] for event in rest["results"]] == ["fired"]
    problem(api.get(f"{V1}{alert.pk}/events/?cursor=x"), 400)


def test_a_test_is_sent_in_the_background_unless_there_is_nobody_to_tell(api: Client) -> None:
    alert = make_alert()
    assert "nobody" in problem(post(api, f"{V1}{alert.pk}/test/"), 400)["detail"]
    Alert.objects.filter(pk=alert.pk).update(mail_to=["ann@example.org"], webhook_url=URL)

    answer = post(api, f"{V1}{alert.pk}/test/")

    assert answer.status_code == 202
    assert [delivery["channel"] for delivery in answer.json()["deliveries"]] == ["mail", "webhook"]
    assert AlertDelivery.objects.filter(state="waiting").count() == 2


def test_each_deed_needs_its_permission() -> None:
    alert = make_alert()
    nobody, viewer = caller(person("nobody")), caller(person("viewer", "jobs.view_alert"))
    path = f"{V1}{alert.pk}/"

    problem(nobody.get(V1), 403)
    assert viewer.get(path).status_code == 200
    for deed in ("enable/", "disable/", "test/", "secret/"):
        problem(post(viewer, f"{path}{deed}"), 403)
    problem(post(viewer, V1, SPEC), 403)
    problem(viewer.patch(path, {"threshold": 1}, content_type="application/json"), 403)
    problem(viewer.delete(path), 403)
    problem(post(root(), f"{V1}999999999/enable/"), 404)
    assert Alert.objects.get(pk=alert.pk).enabled


# --- The command -----------------------------------------------------------------------------------------------------


def command(*args: Any) -> str:
    out = StringIO()
    call_command("alerts", *args, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_command_makes_shows_edits_switches_and_deletes() -> None:
    command("create", "Slow lane", "oldest", "--queue", "slow_lane", "--threshold", "600", "--mail-to", "a@example.org")
    assert "Slow lane" in command("list")
    fire(Alert.objects.get(name="Slow lane"))
    assert "7 jobs failed. (webhook waiting Refused" in command("show", "Slow lane")
    shown = json.loads(command("edit", "Slow lane", "--threshold", "60", "--mail-to", "", "--rename", "Slow", "--json"))
    assert (shown["threshold"], shown["mail_to"], shown["name"], shown["state"]) == (60, [], "Slow", "firing")
    assert json.loads(command("disable", str(shown["id"]), "--json"))["state"] == "disabled"
    assert json.loads(command("enable", "Slow", "--json"))["state"] == "ok"
    assert command("secret", "Slow").startswith("whsec_")
    command("delete", "Slow")
    assert not Alert.objects.filter(name="Slow").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("show", "nope"),
        ("show", "9" * 30),
        ("edit", "Backlog"),
        ("edit", "Backlog", "--threshold", "0"),
        ("edit", "Backlog", "--queue", "nope"),
        ("test", "Backlog"),
    ],
)
def test_wrong_use_of_the_command_ends_with_2(args: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as refused:
        command(*args)

    assert refused.value.returncode == 2


# --- The admin -------------------------------------------------------------------------------------------------------


def test_the_control_room_shows_what_fires_to_those_who_may_see_it() -> None:
    fire(make_alert("Nothing works"))
    make_alert("All is well")

    page = client_with("jobs.view_alert").get("/admin/").content.decode()
    assert "Nothing works" in page
    assert "is firing" in page
    assert "All is well" not in page
    assert "Nothing works" not in client_with("jobs.view_job", name="bob").get("/admin/").content.decode()


def test_an_alert_is_made_and_edited_in_the_admin() -> None:
    client = client_with("jobs.view_alert", "jobs.add_alert", "jobs.change_alert")
    values = {**SPEC, "mail_to": "ann@example.org, bob@example.org", "webhook_url": URL, "enabled": "on"}
    values |= {"window_seconds": 300, "for_seconds": 0, "cooldown_seconds": 60, "queue": ""}
    assert "Reviews is saved" in said(client.post(page_of("jobs_alert", "add"), values))
    alert = Alert.objects.get(name="Reviews")
    assert (alert.mail_to, alert.webhook_url) == (["ann@example.org", "bob@example.org"], URL)

    edit = page_of("jobs_alert", "edit", alert.pk)
    client.post(edit, {**values, "webhook_url": "", "threshold": 8})
    alert.refresh_from_db()
    assert (alert.threshold, alert.webhook_url, alert.changed_by) == (8, URL, "ann")
    client.post(edit, {**values, "webhook_url": "", "no_webhook": "on"})
    alert.refresh_from_db()
    assert alert.webhook_url == ""
    page = client.post(edit, {**values, "webhook_url": "ftp://x", "kind": "oldest"}).content.decode()
    assert "task is for failed jobs and for ages" in page
    assert "mail_to &#x27;x&#x27; is not an address" in client.post(edit, {**values, "mail_to": "x"}).content.decode()


def test_an_alert_is_tested_switched_and_deleted_in_the_admin() -> None:
    alert = make_alert(mail_to=["ann@example.org"], webhook_url=URL)
    client = client_with("jobs.view_alert", "jobs.change_alert", "jobs.delete_alert")
    do = page_of("jobs_alert", "do", alert.pk)

    assert client.get(do).status_code == 302
    assert "A test is being sent" in said(client.post(do, {"action": "test"}))
    assert "is disabled" in said(client.post(do, {"action": "disable"}))
    assert "is enabled" in said(client.post(do, {"action": "enable"}))
    shown = client.post(do, {"action": "secret"})
    assert b"whsec_" in shown.content
    assert "no-store" in shown["Cache-Control"]
    assert b"whsec_" not in client.get(page_of("jobs_alert", "change", alert.pk)).content
    remove = page_of("jobs_alert", "remove", alert.pk)
    assert "Delete this alert?" in client.get(remove).content.decode()
    client.post(remove)
    assert not Alert.objects.filter(pk=alert.pk).exists()


def test_a_failing_channel_shows_on_the_alerts_page_and_in_the_list() -> None:
    alert = make_alert(webhook_url=URL)
    fire(alert)
    client = client_with("jobs.view_alert")

    assert "the far side answered 404" in client.get(page_of("jobs_alert", "change", alert.pk)).content.decode()
    assert "failing" in client.get(LIST).content.decode()


def test_the_admins_pages_need_their_permissions() -> None:
    alert = make_alert()
    viewer, stranger = client_with("jobs.view_alert"), client_with("jobs.view_job", name="bob")

    assert stranger.get(LIST).status_code == 403
    assert stranger.get(page_of("jobs_alert", "change", alert.pk)).status_code == 403
    assert "Send a test" not in viewer.get(page_of("jobs_alert", "change", alert.pk)).content.decode()
    for page in ("edit", "do", "remove"):
        assert viewer.post(page_of("jobs_alert", page, alert.pk), {"action": "disable"}).status_code == 403
    assert viewer.post(page_of("jobs_alert", "add"), SPEC).status_code == 403
    assert viewer.get(page_of("jobs_alert", "change", 999_999_999)).status_code == 302
    assert viewer.get(f"{LIST}x/change/").status_code == 302


def test_old_events_are_pruned() -> None:
    alert = make_alert()
    for days in (1, 91):
        event = fire(alert)
        AlertEvent.objects.filter(pk=event.pk).update(at=timezone.now() - timedelta(days=days))

    assert retention.clean_up()["alert_events"] == 1
    assert AlertDelivery.objects.count() == 1


def test_an_open_form_of_an_alert_puts_nothing_back_that_others_changed():
    alert = make_alert(mail_to=["ann@example.org", "bob@example.org"], webhook_url=URL)
    client, edit = client_with("jobs.view_alert", "jobs.change_alert"), page_of("jobs_alert", "edit", alert.pk)
    form = opened(client, edit)
    theirs = ["bob@example.org", "eve@example.org"]
    Alert.objects.filter(pk=alert.pk).update(enabled=False, threshold=9, mail_to=theirs, webhook_url="")

    assert client.post(edit, {**form, "name": "Other"}).status_code == 302

    alert.refresh_from_db()
    assert (alert.name, alert.enabled, alert.threshold, alert.mail_to) == ("Other", False, 9, theirs)
    assert not alert.webhook_url
    client.post(edit, {**form, "mail_to": "ann@example.org, bob@example.org, carl@example.org"})
    alert.refresh_from_db()
    assert alert.mail_to == [*theirs, "carl@example.org"]
