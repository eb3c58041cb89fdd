"""What becomes of missed runs is set and seen in the same way in the admin, the API and the commands."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobs.models import AuditEntry, ScheduleDefault, SchedulePolicy, ScheduleTick
from jobs.operators import schedule_edits
from jobs.operators.actors import command_actor
from jobs.schedules.defaults import spec_of
from jobs.tests.admin_helpers import client_with, page_of
from jobs.tests.api_client import caller, person, problem, root
from jobs.tests.test_commands import refusal, run

pytestmark = pytest.mark.django_db
V1 = "/api/v1/schedules/"
BEAT = "django_celery_beat"
MODEL = "django_celery_beat_periodictask"
SPEC: dict[str, Any] = {
    "name": "nightly",
    "task": "selftest.echo",
    "args": [7],
    "interval": {"every": 1, "period": "hours"},
}
POLICY = {"catch_up": "run_all", "catch_up_limit": 7, "grace_seconds": 3600}
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def schedule() -> PeriodicTask:
    made = schedule_edits.create_schedule(command_actor(), SPEC)
    AuditEntry.objects.all().delete()
    return made


@pytest.fixture
def ticks(schedule: PeriodicTask) -> list[ScheduleTick]:
    outcomes = ["skipped", "failed", "folded", "caught_up", "sent"]
    return ScheduleTick.objects.bulk_create(
        ScheduleTick(schedule=schedule, due_at=NOON + timedelta(hours=n), at=NOON + timedelta(hours=n), outcome=outcome)
        for n, outcome in enumerate(outcomes)
    )


def patch(client: Client, schedule: PeriodicTask, body: Any) -> Any:
    return client.patch(f"{V1}{schedule.pk}/", json.dumps(body), content_type="application/json")


def stored(schedule: PeriodicTask) -> dict[str, Any]:
    policy = SchedulePolicy.objects.get(schedule=schedule)
    return {name: getattr(policy, name) for name in POLICY}


def test_the_api_sets_and_shows_the_policy_and_records_the_change(schedule: PeriodicTask) -> None:
    api = root()
    shown = api.get(f"{V1}{schedule.pk}/").json()
    assert (shown["catch_up"], shown["catch_up_limit"], shown["grace_seconds"]) == ("run_once", 100, None)

    body = patch(api, schedule, POLICY).json()

    assert {name: body[name] for name in POLICY} == POLICY == stored(schedule)
    assert AuditEntry.objects.get(action="schedule.change").detail["changed"]["catch_up"] == ["run_once", "run_all"]


def test_the_command_and_the_form_do_the_same(schedule: PeriodicTask) -> None:
    run("schedules", "edit", "nightly", "--catch-up", "run_all", "--catch-up-limit", 7, "--grace-seconds", 3600)
    assert stored(schedule) == POLICY
    run("schedules", "edit", "nightly", "--clear", "grace_seconds")
    assert stored(schedule)["grace_seconds"] is None

    editor = client_with(f"{BEAT}.view_periodictask", f"{BEAT}.change_periodictask", "jobs.enqueue_job")
    form = {"name": "nightly", "task": "selftest.echo", "args": "[7]", "kwargs": "{}", "enabled": "on", "queue": ""}
    form |= {"kind": "interval", "every": "1", "period": "hours", "catch_up": "skip", "catch_up_limit": "7"}
    assert editor.post(page_of(MODEL, "change", schedule.pk), form | {"grace_seconds": "90"}).status_code == 302
    assert stored(schedule) == {"catch_up": "skip", "catch_up_limit": 7, "grace_seconds": 90}


@pytest.mark.parametrize(
    "wrong",
    [{"catch_up": "never"}, {"catch_up_limit": 0}, {"catch_up_limit": 1001}, {"grace_seconds": 0}],
)
def test_a_wrong_policy_is_told_at_its_place(schedule: PeriodicTask, wrong: dict[str, Any]) -> None:
    told = problem(patch(root(), schedule, wrong), 400)
    assert told["errors"][0]["pointer"] == f"#/{next(iter(wrong))}"
    assert stored(schedule)["catch_up"] == "run_once"


def test_the_policy_is_changed_only_by_who_may_enqueue(schedule: PeriodicTask) -> None:
    problem(patch(caller(person("anna", f"{BEAT}.change_periodictask")), schedule, POLICY), 403)
    assert stored(schedule)["catch_up"] == "run_once"


@pytest.mark.usefixtures("ticks")
def test_ticks_are_listed_latest_first_missed_ones_too(schedule: PeriodicTask) -> None:
    api = root()
    page = api.get(f"{V1}{schedule.pk}/ticks/?page_size=3").json()
    rest = api.get(page["next"]).json()
    outcomes = [row["outcome"] for row in page["results"] + rest["results"]]
    assert outcomes == ["sent", "caught_up", "folded", "failed", "skipped"]
    assert rest["next"] is None
    problem(caller(person("eve")).get(f"{V1}{schedule.pk}/ticks/"), 403)
    problem(api.get(f"{V1}999999/ticks/"), 404)
    problem(api.get(f"{V1}{schedule.pk}/ticks/?cursor=WyJuZXh0IiwgImEiXQ"), 400)

    shown = json.loads(run("schedules", "show", "nightly", "--json"))
    assert [tick["outcome"] for tick in shown["ticks"]] == outcomes
    assert "skipped" in run("schedules", "show", "nightly", "--count", 5)
    assert refusal("schedules", "show", "nightly", "--count", 0)[0] == 2

    html = client_with(f"{BEAT}.view_periodictask").get(page_of(MODEL, "change", schedule.pk)).content.decode()
    for text in ("missed", "failed", "folded", "sent late"):
        assert f">{text}</span>" in html


def test_what_differs_from_the_codes_default_is_shown_everywhere(schedule: PeriodicTask) -> None:
    ScheduleDefault.objects.create(name="nightly", spec=spec_of(schedule), schedule=schedule)
    api = root()
    assert api.get(f"{V1}{schedule.pk}/").json()["differs_from_default"] == {}

    schedule_edits.edit_schedule(command_actor(), schedule.pk, {"queue": "maintenance", "args": [8]})
    expected = {"queue": {"now": "maintenance", "default": None}, "args": {"now": [8], "default": [7]}}
    assert api.get(f"{V1}{schedule.pk}/").json()["differs_from_default"] == expected
    listed = {row["name"]: row for row in json.loads(run("schedules", "list", "--json"))}
    assert listed["nightly"]["differs_from_default"] == expected
    viewer = client_with(f"{BEAT}.view_periodictask")
    assert "differs from the code: queue, arguments" in viewer.get(page_of(MODEL)).content.decode()
    assert "the code says [7]" in viewer.get(page_of(MODEL, "change", schedule.pk)).content.decode()


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"day_of_month": "30", "month_of_year": "2"}, None),
        ({"minute": "1-5/0"}, "minute"),
        ({"day_of_week": "9"}, "day_of_week"),
    ],
)
def test_a_timetables_own_form_refuses_dates_that_never_come(parts: dict[str, str], field: str | None) -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="0")
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    body = {name: str(getattr(crontab, name)) for name in names} | {"timezone": "UTC"} | parts
    editor = client_with(
        f"{BEAT}.view_crontabschedule",
        f"{BEAT}.change_crontabschedule",
        f"{BEAT}.add_crontabschedule",
        "jobs.enqueue_job",
    )
    model = "django_celery_beat_crontabschedule"
    for page in (page_of(model, "change", crontab.pk), page_of(model, "add")):
        response = editor.post(page, body)
        assert response.status_code == 200
        form = response.context["adminform"].form
        assert field in form.errors if field else "never run" in str(form.errors)
    assert CrontabSchedule.objects.filter(minute="0", hour="0").count() == 1
    sunday = editor.post(page_of(model, "change", crontab.pk), body | {"minute": "0"} | dict.fromkeys(parts, "*"))
    assert sunday.status_code == 302
    kept = editor.post(
        page_of(model, "change", crontab.pk), {**body, **dict.fromkeys(parts, "*"), "minute": "0", "day_of_week": "7"}
    )
    assert kept.status_code == 302
    crontab.refresh_from_db()
    assert crontab.day_of_week == "0"
