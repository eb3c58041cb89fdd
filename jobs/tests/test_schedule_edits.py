"""Schedules and tokens are made, changed and removed by the API and by commands as in the admin."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobs.models import ApiToken, AuditEntry
from jobs.operators import schedule_edits, tokens
from jobs.operators.actors import Actor, command_actor
from jobs.operators.timetables import ScheduleRefused
from jobs.tests.api_client import caller, person, post, problem
from jobs.tests.test_commands import refusal, run

pytestmark = pytest.mark.django_db
V1 = "/api/v1/"
BEAT = "django_celery_beat"
SPEC: dict[str, Any] = {
    "name": "nightly",
    "task": "selftest.echo",
    "args": [7],
    "crontab": {"minute": "30", "hour": "3", "timezone": "Europe/Lisbon"},
}
HOURLY = {"every": 1, "period": "hours"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": " "}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": "taken"}, "name"),
    ({"task": "no.such"}, "task"),
    ({"args": [1, 2]}, "args"),
    ({"args": [], "kwargs": {"nonsense": 1}}, "kwargs"),
    ({"queue": "nowhere"}, "queue"),
    ({"priority": 10}, "priority"),
    ({"priority": -1}, "priority"),
    ({"expire_seconds": 0}, "expire_seconds"),
    ({"expires": "2020-01-01T00:00:00Z"}, "expires"),
    ({"expires": "9999-01-01T00:00:00Z"}, "expires"),
    ({"start_time": "2999-01-02T00:00:00Z", "expires": "2999-01-01T00:00:00Z"}, "expires"),
    ({"expires": "2999-01-01T00:00:00Z", "expire_seconds": 60}, "expires"),
    ({"interval": HOURLY}, "crontab"),
    ({"crontab": None}, ""),
    ({"crontab": None, "interval": {"every": 0, "period": "days"}}, "interval/every"),
    ({"crontab": None, "interval": {"every": 10**30, "period": "days"}}, "interval/every"),
    ({"crontab": None, "interval": {"every": 1, "period": "years"}}, "interval/period"),
    ({"crontab": {"minute": "99"}}, "crontab/minute"),
    ({"crontab": {"hour": "3"}}, "crontab/minute"),
    ({"crontab": {"minute": "1", "day_of_week": "someday"}}, "crontab/day_of_week"),
    ({"crontab": {"minute": "1", "timezone": "Mars/Base"}}, "crontab/timezone"),
    ({"crontab": None, "clocked": {"at": "2020-01-01T00:00:00Z"}}, "clocked/at"),
    ({"crontab": None, "clocked": {"at": "2999-01-01T00:00:00Z"}, "one_off": False}, "one_off"),
    ({"crontab": None, "solar": {"event": "eclipse", "latitude": 0, "longitude": 0}}, "solar/event"),
    ({"crontab": None, "solar": {"event": "sunset", "latitude": 98, "longitude": 0}}, "solar/latitude"),
    ({"crontab": None, "solar": {"event": "sunset", "latitude": "nan", "longitude": 0}}, "solar/latitude"),
]


@pytest.fixture
def schedule() -> PeriodicTask:
    made = schedule_edits.create_schedule(command_actor(), SPEC)
    AuditEntry.objects.all().delete()
    return made


def patch(client: Client, key: Any, body: Any) -> Any:
    return client.patch(f"{V1}schedules/{key}/", json.dumps(body), content_type="application/json")


def count() -> int:
    return PeriodicTask.objects.filter(name__in=["nightly", "taken"]).count()


def test_a_schedule_is_made_by_the_api_shown_and_recorded(api: Client) -> None:
    response = post(api, V1 + "schedules/", SPEC | {"queue": "maintenance", "priority": 3})

    made = PeriodicTask.objects.get(name="nightly")
    body = response.json()
    assert (response.status_code, body["id"]) == (201, made.pk)
    assert api.get(response["Location"]).json()["crontab"]["minute"] == "30"
    assert (body["schedule"], body["queue"]) == ("at 03:30 daily, Europe/Lisbon", "maintenance")
    entry = AuditEntry.objects.get(action="schedule.create")
    assert (entry.via, entry.target, entry.detail["changed"]["priority"]) == ("api", str(made.pk), [None, 3])


@pytest.mark.parametrize(("wrong", "where"), BAD)
def test_what_cannot_be_is_told_at_its_place_and_nothing_is_stored(
    api: Client, wrong: dict[str, Any], where: str
) -> None:
    schedule_edits.create_schedule(command_actor(), SPEC | {"name": "taken"})

    told = problem(post(api, V1 + "schedules/", SPEC | wrong), 400)

    pointers = [error["pointer"].removeprefix("#").removeprefix("/") for error in told["errors"]]
    assert pointers == [where], told
    assert count() == 1


@pytest.mark.parametrize(
    "body", [{}, [], {"name": None}, {"crontab": 5}, SPEC | {"new": 1}, SPEC | {"interval": {"often": 1}}]
)
def test_a_body_of_the_wrong_shape_is_refused(api: Client, body: Any) -> None:
    problem(api.post(V1 + "schedules/", json.dumps(body), content_type="application/json"), 400)
    assert count() == 0


def test_a_change_keeps_the_rest_and_the_last_run_and_tells_beat(api: Client, schedule: PeriodicTask) -> None:
    last = timezone.now() - timedelta(days=1)
    PeriodicTask.objects.filter(pk=schedule.pk).update(last_run_at=last)
    PeriodicTasks.objects.update_or_create(ident=1, defaults={"last_update": last})

    body = patch(api, schedule.pk, {"interval": HOURLY, "priority": 9, "args": [8]}).json()

    schedule.refresh_from_db()
    assert (body["interval"], body["crontab"], body["args"], body["priority"]) == (HOURLY, None, [8], 9)
    assert (schedule.name, schedule.last_run_at, schedule.enabled) == ("nightly", last, True)
    assert PeriodicTasks.last_change() > last
    entry = AuditEntry.objects.get(action="schedule.change")
    assert set(entry.detail["changed"]) == {"interval", "crontab", "priority", "arguments"}
    assert entry.detail["changed"]["priority"] == [None, 9]
    assert "8" not in json.dumps(entry.detail["changed"]["arguments"])


def test_what_changes_nothing_is_not_recorded(api: Client, schedule: PeriodicTask) -> None:
    assert patch(api, schedule.pk, SPEC).status_code == 200
    assert not AuditEntry.objects.filter(action__startswith="schedule.").exists()


@pytest.mark.parametrize(("wrong", "where"), BAD[:14])
def test_a_wrong_change_is_refused_and_changes_nothing(
    api: Client, schedule: PeriodicTask, wrong: dict[str, Any], where: str
) -> None:
    schedule_edits.create_schedule(command_actor(), SPEC | {"name": "taken"})

    problem(patch(api, schedule.pk, wrong), 400)

    after = PeriodicTask.objects.get(pk=schedule.pk)
    assert (after.name, after.date_changed) == ("nightly", schedule.date_changed)


def test_a_single_time_runs_once_and_another_timetable_runs_on(schedule: PeriodicTask) -> None:
    at = datetime(2999, 1, 1, tzinfo=UTC)
    assert schedule_edits.edit_schedule(command_actor(), schedule.pk, {"clocked": {"at": at}}).one_off
    assert not schedule_edits.edit_schedule(command_actor(), schedule.pk, {"interval": HOURLY}).one_off


def test_switched_off_with_other_changes_it_keeps_its_last_run_and_switched_on_it_counts_from_now(
    schedule: PeriodicTask,
) -> None:
    last = timezone.now() - timedelta(days=2)
    PeriodicTask.objects.filter(pk=schedule.pk).update(last_run_at=last)

    off = schedule_edits.edit_schedule(command_actor(), schedule.pk, {"enabled": False, "priority": 1})
    assert (off.enabled, off.last_run_at) == (False, last)
    on = schedule_edits.edit_schedule(command_actor(), schedule.pk, {"enabled": True, "priority": 2})
    assert (on.enabled, on.last_run_at) == (True, None)


def test_a_schedule_is_deleted_once(api: Client, schedule: PeriodicTask) -> None:
    assert api.delete(f"{V1}schedules/{schedule.pk}/").status_code == 204
    problem(api.delete(f"{V1}schedules/{schedule.pk}/"), 404)
    assert count() == 0
    assert AuditEntry.objects.get(action="schedule.delete").detail == {"name": "nightly"}


def test_each_deed_needs_its_permission(schedule: PeriodicTask) -> None:
    anna = Actor.of_user(person("anna", f"{BEAT}.view_periodictask"), "api")
    with pytest.raises(PermissionDenied, match="add_periodictask"):
        schedule_edits.create_schedule(anna, SPEC | {"name": "other"})
    with pytest.raises(PermissionDenied, match="change_periodictask"):
        schedule_edits.edit_schedule(anna, schedule.pk, {"priority": 1})
    with pytest.raises(PermissionDenied, match="delete_periodictask"):
        schedule_edits.delete_schedule(anna, schedule.pk)
    adder = caller(person("ben", f"{BEAT}.add_periodictask", "jobs.enqueue_job"))
    assert post(adder, V1 + "schedules/", SPEC | {"name": "taken"}).status_code == 201
    problem(patch(adder, schedule.pk, {"priority": 1}), 403)
    problem(adder.delete(f"{V1}schedules/{schedule.pk}/"), 403)
    assert count() == 2


def test_an_unknown_part_is_refused_by_the_service() -> None:
    with pytest.raises(ScheduleRefused, match="last_run_at: unknown part"):
        schedule_edits.create_schedule(command_actor(), SPEC | {"last_run_at": None})


# --- commands -------------------------------------------------------------------------------------------------------

ADD = ("schedules", "add", "--name", "nightly", "--task", "selftest.echo", "--args", "[7]")


def test_schedules_are_added_edited_and_deleted_by_command() -> None:
    made = json.loads(
        run(*ADD, "--cron", "30 3 * * *", "--timezone", "Europe/Lisbon", "--queue", "maintenance", "--json")
    )
    assert (made["schedule"], made["args"], made["queue"]) == ("at 03:30 daily, Europe/Lisbon", [7], "maintenance")

    edited = json.loads(
        run("schedules", "edit", "nightly", "--every", "15 minutes", "--clear", "queue", "--no-enabled", "--json")
    )
    assert (edited["schedule"], edited["queue"], edited["enabled"]) == ("every 15 minutes", None, False)
    run("schedules", "delete", "nightly")
    assert count() == 0
    entries = AuditEntry.objects.filter(via="command").order_by("pk").values_list("action", flat=True)
    assert list(entries) == ["schedule.create", "schedule.change", "schedule.delete"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((*ADD,), "needs a timetable"),
        ((*ADD, "--every", "soon"), "not a number and a unit"),
        ((*ADD, "--every", "1 fortnight"), "unknown unit"),
        ((*ADD, "--cron", "* * *"), "five parts"),
        ((*ADD, "--cron", "99 * * * *"), "crontab.minute"),
        ((*ADD, "--every", "1 hour", "--cron", "1 * * * *"), "one timetable"),
        ((*ADD, "--every", "1 hour", "--timezone", "UTC"), "--timezone goes with --cron"),
        ((*ADD, "--at", "soon"), "not an ISO 8601 time"),
        ((*ADD, "--solar", "sunset", "north", "0"), "solar.latitude"),
        ((*ADD, "--every", "1 hour", "--priority", "12"), "from 0 to 9"),
        (("schedules", "edit", "nope", "--priority", "1"), "no schedule 'nope'"),
        (("schedules", "edit", "nope"), "nothing to change"),
        (("schedules", "delete", "nope"), "no schedule 'nope'"),
        (("tokens", "revoke", "0"), "no token 0"),
        (("tokens", "revoke", "9" * 40), "no token 9"),
    ],
)
def test_wrong_use_of_the_commands_is_told(words: tuple[str, ...], text: str) -> None:
    code, message = refusal(*words)
    assert (code, text in message) == (2, True), message
    assert count() == 0


# --- tokens ---------------------------------------------------------------------------------------------------------

ALL = ("jobs.view_apitoken", "jobs.add_apitoken", "jobs.change_apitoken")


def test_a_token_is_made_listed_and_revoked_by_the_api() -> None:
    anna = caller(person("anna", *ALL))
    tokens.create_token(command_actor(), person("ben"), "ben's")

    made = post(anna, V1 + "tokens/", {"name": "ci"})
    listed = anna.get(V1 + "tokens/").json()["results"]

    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    assert tokens.authenticate(made.json()["token"])
    assert [row["name"] for row in listed] == ["ci", "test"]
    assert not {"digest", "token"} & set(listed[0])
    assert anna.delete(f"{V1}tokens/{made.json()['id']}/").status_code == 204
    assert tokens.authenticate(made.json()["token"]) is None
    actions = AuditEntry.objects.filter(via="api").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["token.create", "token.revoke"]


def test_only_a_superuser_manages_tokens_of_others(api: Client) -> None:
    ben = person("ben")
    token, _ = tokens.create_token(command_actor(), ben, "ben's")
    anna = caller(person("anna", *ALL))

    problem(post(anna, V1 + "tokens/", {"name": "x", "user": "ben"}), 403)
    problem(anna.delete(f"{V1}tokens/{token.pk}/"), 403)
    problem(post(caller(person("eve")), V1 + "tokens/", {"name": "x"}), 403)
    assert ApiToken.objects.get(pk=token.pk).revoked_at is None
    assert post(api, V1 + "tokens/", {"name": "x", "user": "ben"}).json()["user"] == "ben"
    assert "ben's" in [row["name"] for row in api.get(V1 + "tokens/").json()["results"]]
    assert api.delete(f"{V1}tokens/{token.pk}/").status_code == 204


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "x" * 101}, {"name": "x", "user": "nobody"}, {"name": "x", "digest": "1"}]
)
def test_a_token_that_cannot_be_is_refused(api: Client, body: Any) -> None:
    problem(post(api, V1 + "tokens/", body), 400)
    problem(post(api, V1 + "tokens/", {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}), 400)


def test_tokens_are_paged_and_a_made_up_cursor_is_refused(api: Client) -> None:
    post(api, V1 + "tokens/", {"name": "second"})
    first = api.get(V1 + "tokens/?page_size=1").json()
    assert [row["name"] for row in api.get(first["next"]).json()["results"]] == ["test"]
    problem(api.get(V1 + "tokens/?cursor=WyJuZXh0IiwgImEiXQ"), 400)
    problem(api.delete(f"{V1}tokens/{'9' * 40}/"), 404)


def test_tokens_are_listed_and_revoked_by_command() -> None:
    token, text = tokens.create_token(command_actor(), person("anna"), "ci")

    (row,) = json.loads(run("tokens", "list", "--json"))
    assert (row["name"], row["user"], row["revoked_at"]) == ("ci", "anna", None)
    run("tokens", "revoke", token.pk)
    assert tokens.authenticate(text) is None
    assert AuditEntry.objects.get(action="token.revoke").via == "command"
