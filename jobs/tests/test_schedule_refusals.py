"""Schedules that could never run, or that their maker may not have run, are refused in the same way everywhere."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.models import AuditEntry, Job
from jobs.operators import schedule_edits, schedules
from jobs.operators.actors import Actor, command_actor
from jobs.operators.timetables import ScheduleRefused
from jobs.schedules.next_runs import describe_schedule, next_runs
from jobs.tests.admin_helpers import client_with, page_of, said
from jobs.tests.api_client import caller, person, post, problem
from jobs.tests.test_commands import refusal, run

pytestmark = pytest.mark.django_db
V1 = "/api/v1/schedules/"
BEAT = "django_celery_beat"
MODEL = "django_celery_beat_periodictask"
HOURLY = {"every": 1, "period": "hours"}
SPEC: dict[str, Any] = {"name": "nightly", "task": "selftest.echo", "args": [7], "interval": HOURLY}
CRON: dict[str, Any] = {"minute": "0", "hour": "0", "timezone": "UTC"}
FEBRUARY_30 = {**CRON, "day_of_month": "30", "month_of_year": "2"}
FORM = {"name": "nightly", "task": "selftest.echo", "args": "[7]", "kwargs": "{}", "enabled": "on", "queue": ""}
CRON_FORM = {**FORM, "kind": "crontab", "cron": "0 0 * * *", "cron_zone": "UTC"}
ADD = ("schedules", "add", "--name", "nightly", "--task", "selftest.echo", "--args", "[7]")
EDITOR = tuple(f"{BEAT}.{verb}_periodictask" for verb in ("view", "add", "change"))


@pytest.fixture
def editor() -> Client:
    """May edit schedules in the admin, and enqueue."""
    return client_with(*EDITOR, "jobs.enqueue_job")


@pytest.fixture
def schedule() -> PeriodicTask:
    made = schedule_edits.create_schedule(command_actor(), SPEC)
    AuditEntry.objects.all().delete()
    return made


def patch(client: Client, schedule: PeriodicTask, body: Any) -> Any:
    return client.patch(f"{V1}{schedule.pk}/", json.dumps(body), content_type="application/json")


def is_made() -> bool:
    return PeriodicTask.objects.filter(name="nightly").exists()


# --- Sunday ---------------------------------------------------------------------------------------------------------

SUNDAYS = [
    ("7", {0}),
    ("07", {0}),
    ("1,7", {0, 1}),
    ("5-7", {5, 6, 0}),
    ("5-7,2", {5, 6, 0, 2}),
    ("1-7/2", {1, 3, 5, 0}),
    ("0-7/2", {0, 2, 4, 6}),
    ("0-7", set(range(7))),
    ("1-7", set(range(7))),
    ("7-2", {0, 1, 2}),
    ("7-7", {0}),
    ("6-7", {6, 0}),
    ("*/7", {0}),
]


@pytest.mark.parametrize(("days", "expected"), SUNDAYS)
def test_seven_is_sunday_wherever_it_stands(days: str, expected: set[int]) -> None:
    made = schedule_edits.create_schedule(
        command_actor(), SPEC | {"interval": None, "crontab": {**CRON, "day_of_week": days}}
    )

    assert {run.isoweekday() % 7 for run in next_runs(made, 14)} == expected
    assert "7" not in str(made.crontab.day_of_week).replace("*/7", "*")
    assert describe_schedule(made)


@pytest.mark.parametrize("days", ["8", "5-8", "7-9", "7/2", "5-7/0", "17", "7,"])
def test_no_other_day_passes_for_sunday(days: str) -> None:
    spec = SPEC | {"interval": None, "crontab": {**CRON, "day_of_week": days}}
    with pytest.raises(ScheduleRefused) as refused:
        schedule_edits.create_schedule(command_actor(), spec)
    assert set(refused.value.errors) == {"crontab.day_of_week"}


def test_seven_is_sunday_in_the_form_and_in_the_command(editor: Client) -> None:
    editor.post(page_of(MODEL, "add"), {**CRON_FORM, "cron": "0 0 * * 7"})
    run(*ADD[:3], "by command", *ADD[4:], "--cron", "0 0 * * 7")
    for name in ("nightly", "by command"):
        assert next_runs(PeriodicTask.objects.get(name=name), 1)[0].isoweekday() == 7


# --- never ----------------------------------------------------------------------------------------------------------

SOON = timezone.now() + timedelta(days=1)  # when this module is loaded, perhaps long before its tests
NEVER: list[tuple[dict[str, Any], str]] = [
    ({"interval": None, "crontab": FEBRUARY_30}, "crontab"),
    ({"interval": {"every": 100_000, "period": "days"}, "expires": SOON}, "expires"),
    ({"expires": datetime(2990, 1, 1, tzinfo=UTC), "start_time": datetime(2999, 1, 1, tzinfo=UTC)}, "expires"),
    (
        {"interval": None, "clocked": {"at": datetime(2999, 1, 1, tzinfo=UTC)}, "expires": SOON},
        "expires",
    ),
    ({"interval": None, "clocked": {"at": datetime(2020, 1, 1, tzinfo=UTC)}}, "clocked.at"),
]


@pytest.mark.parametrize(("wrong", "where"), NEVER)
def test_a_schedule_without_a_next_run_is_not_stored(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        schedule_edits.create_schedule(command_actor(), SPEC | wrong)
    assert list(refused.value.errors) == [where]
    assert not is_made()


@pytest.mark.parametrize(("wrong", "where"), NEVER)
def test_no_change_leaves_a_schedule_without_a_next_run(
    schedule: PeriodicTask, wrong: dict[str, Any], where: str
) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        schedule_edits.edit_schedule(command_actor(), schedule.pk, wrong)
    assert list(refused.value.errors) == [where]
    assert next_runs(schedules.find_schedule(schedule.pk), 1)


def test_the_api_the_form_and_the_command_say_that_it_would_never_run(api: Client, editor: Client) -> None:
    told = problem(post(api, V1, SPEC | {"interval": None, "crontab": FEBRUARY_30}), 400)
    assert (told["errors"][0]["pointer"], "never run" in told["detail"]) == ("#/crontab", True)

    form = editor.post(page_of(MODEL, "add"), {**CRON_FORM, "cron": "0 0 30 2 *"}).context["adminform"].form
    assert "never run" in form.errors["cron"][0]
    spans = {"start_time": "2999-01-01T00:00", "expires": "2990-01-01T00:00"}
    form = editor.post(page_of(MODEL, "add"), {**CRON_FORM, **spans}).context["adminform"].form
    assert "ends before it starts" in form.errors["expires"][0]

    code, message = refusal(*ADD, "--cron", "0 0 30 2 *")
    assert (code, "never run" in message) == (2, True)
    assert not is_made()


def test_a_single_time_in_the_past_is_refused_three_ways(api: Client, editor: Client) -> None:
    told = problem(post(api, V1, SPEC | {"interval": None, "clocked": {"at": "2020-01-01T00:00:00Z"}}), 400)
    assert told["errors"][0]["pointer"] == "#/clocked/at"
    body = {**FORM, "kind": "clocked", "clocked_at": "2020-01-01T00:00"}
    form = editor.post(page_of(MODEL, "add"), body).context["adminform"].form
    assert "in the past" in form.errors["clocked_at"][0]
    assert "in the past" in refusal(*ADD, "--at", "2020-01-01T00:00Z")[1]
    assert not is_made()


def test_29_february_and_a_start_to_come_are_next_runs() -> None:
    leap = schedule_edits.create_schedule(
        command_actor(),
        SPEC | {"interval": None, "crontab": {**CRON, "day_of_month": "29", "month_of_year": "2"}, "name": "leap"},
    )
    later = schedule_edits.create_schedule(command_actor(), SPEC | {"start_time": datetime(2999, 1, 1, tzinfo=UTC)})
    assert (next_runs(leap, 1)[0].day, next_runs(later, 1)[0].year) == (29, 2999)


def test_what_is_switched_off_may_wait_for_other_times_but_is_not_switched_on(editor: Client) -> None:
    spec = SPEC | {"interval": None, "crontab": FEBRUARY_30, "enabled": False}
    made = schedule_edits.create_schedule(command_actor(), spec)

    with pytest.raises(ScheduleRefused, match="never run"):
        schedules.set_enabled(command_actor(), made.pk, True)
    assert "never run" in said(editor.post(page_of(MODEL, "enable", made.pk)))
    assert refusal("schedules", "enable", "nightly")[0] == 2
    made.refresh_from_db()
    assert not made.enabled


def test_a_stored_schedule_that_never_runs_can_still_be_renamed_and_switched_off(schedule: PeriodicTask) -> None:
    broken = CrontabSchedule.objects.create(day_of_month="30", month_of_year="2")
    PeriodicTask.objects.filter(pk=schedule.pk).update(interval=None, crontab=broken)

    assert schedule_edits.edit_schedule(command_actor(), schedule.pk, {"name": "other"}).name == "other"
    assert not schedules.set_enabled(command_actor(), schedule.pk, False).enabled


def test_a_single_run_that_is_asked_for_is_one_to_come(schedule: PeriodicTask) -> None:
    PeriodicTask.objects.filter(pk=schedule.pk).update(total_run_count=50)
    assert next_runs(schedule_edits.edit_schedule(command_actor(), schedule.pk, {"one_off": True}), 1)

    PeriodicTask.objects.filter(pk=schedule.pk).update(total_run_count=1, enabled=False)
    assert next_runs(schedules.set_enabled(command_actor(), schedule.pk, True), 1)


# --- who may --------------------------------------------------------------------------------------------------------

SENDING: list[dict[str, Any]] = [
    {"task": "selftest.sleep", "args": [1]},
    {"args": [8]},
    {"args": [], "kwargs": {"value": 8}},
    {"interval": {"every": 2, "period": "hours"}},
    {"start_time": "2999-01-01T00:00:00Z"},
    {"expires": "2999-01-01T00:00:00Z"},
    {"one_off": True},
]


def test_a_schedule_is_made_only_by_who_may_enqueue() -> None:
    anna = caller(person("anna", f"{BEAT}.add_periodictask"))
    assert "jobs.enqueue_job" in problem(post(anna, V1, SPEC), 403)["detail"]
    assert not is_made()
    ben = caller(person("ben", f"{BEAT}.add_periodictask", "jobs.enqueue_job"))
    assert post(ben, V1, SPEC).status_code == 201


@pytest.mark.parametrize("change", SENDING)
def test_what_a_schedule_sends_and_when_is_changed_only_by_who_may_enqueue(
    schedule: PeriodicTask, change: dict[str, Any]
) -> None:
    told = problem(patch(caller(person("anna", f"{BEAT}.change_periodictask")), schedule, change), 403)

    assert "lacks the permission jobs.enqueue_job" in told["detail"]
    after = PeriodicTask.objects.get(pk=schedule.pk)
    assert (after.task, after.args, after.interval, after.date_changed) == (
        *(schedule.task, schedule.args, schedule.interval, schedule.date_changed),
    )
    assert not AuditEntry.objects.filter(action__startswith="schedule.").exists()
    ben = caller(person("ben", f"{BEAT}.change_periodictask", "jobs.enqueue_job"))
    assert patch(ben, schedule, change).status_code == 200


@pytest.mark.parametrize("change", [{"enabled": True}, {"enabled": True, "priority": 1}])
def test_a_schedule_is_switched_off_but_not_on_by_who_may_not_enqueue(
    schedule: PeriodicTask, change: dict[str, Any]
) -> None:
    anna = caller(person("anna", f"{BEAT}.change_periodictask"))

    assert patch(anna, schedule, {"enabled": False}).status_code == 200
    assert "jobs.enqueue_job" in problem(patch(anna, schedule, change), 403)["detail"]
    schedule.refresh_from_db()
    assert not schedule.enabled


def test_names_queues_and_what_stays_the_same_need_no_more_than_the_right_to_edit(schedule: PeriodicTask) -> None:
    anna = caller(person("anna", f"{BEAT}.change_periodictask"))
    assert patch(anna, schedule, SPEC | {"name": "other", "priority": 3, "description": "x"}).status_code == 200


def test_the_admin_holds_to_it_too(schedule: PeriodicTask) -> None:
    anna = client_with(*EDITOR)
    page = page_of(MODEL, "change", schedule.pk)
    body = {**FORM, "kind": "interval", "every": "1", "period": "hours"}

    assert anna.post(page_of(MODEL, "add"), {**CRON_FORM, "name": "new"}).status_code == 403
    assert "jobs.enqueue_job" in said(anna.post(page, {**body, "every": "2"}))
    assert "changed successfully" in said(anna.post(page, {**body, "description": "x"}))
    schedules.set_enabled(command_actor(), schedule.pk, False)
    assert ">Enable<" not in anna.get(page).content.decode()
    assert anna.post(page_of(MODEL, "enable", schedule.pk)).status_code == 403
    anna.post(page_of(MODEL), {"action": "enable_selected", "_selected_action": [schedule.pk]})
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.description, schedule.interval.every) == (False, "x", 1)


def test_a_timetable_of_schedules_is_changed_only_by_who_may_enqueue(schedule: PeriodicTask) -> None:
    page = page_of("django_celery_beat_intervalschedule", "change", schedule.interval.pk)
    verbs = (f"{BEAT}.view_intervalschedule", f"{BEAT}.change_intervalschedule")
    body = {"every": "2", "period": "hours"}

    assert client_with(*verbs).post(page, body).status_code == 403
    assert IntervalSchedule.objects.get(pk=schedule.interval.pk).every == 1
    assert client_with(*verbs, "jobs.enqueue_job", name="ben").post(page, body).status_code == 302
    assert IntervalSchedule.objects.get(pk=schedule.interval.pk).every == 2


def test_whoever_may_not_see_jobs_is_told_only_what_became_of_a_schedules_job(schedule: PeriodicTask) -> None:
    told = post(caller(person("anna", "jobs.enqueue_job")), f"{V1}{schedule.pk}/run/")
    assert (told.status_code, set(told.json())) == (201, {"id", "state", "folded"})


# --- ids, names and next runs ---------------------------------------------------------------------------------------


def test_a_text_that_is_both_a_name_and_another_schedules_id_is_refused(api: Client, schedule: PeriodicTask) -> None:
    twin = schedule_edits.create_schedule(command_actor(), SPEC | {"name": str(schedule.pk)})

    code, message = refusal("schedules", "run", schedule.pk)

    assert (code, "'nightly'" in message, f"schedule {twin.pk}" in message) == (2, True, True)
    assert not Job.objects.exists()
    assert api.get(f"{V1}{schedule.pk}/").json()["name"] == "nightly"
    assert run("schedules", "run", twin.pk)
    assert schedules.set_enabled(Actor.of_user(person("r", is_superuser=True), "admin"), schedule.pk, False) == schedule


def test_the_api_takes_no_names(api: Client, schedule: PeriodicTask) -> None:
    problem(api.get(f"{V1}nightly/"), 404)
    twin = schedule_edits.create_schedule(command_actor(), SPEC | {"name": "999999"})
    problem(post(api, f"{V1}999999/run/"), 404)
    assert api.get(f"{V1}{twin.pk}/").json()["name"] == "999999"


def test_a_command_lists_the_next_runs(schedule: PeriodicTask) -> None:
    def expected() -> list[str]:
        return [moment.isoformat() for moment in next_runs(schedules.find_schedule(schedule.pk), 3)]

    before = expected()
    runs = json.loads(run("schedules", "upcoming", "nightly", "--count", 3, "--json"))

    assert [row["run_at"] for row in runs] in (before, expected())  # an hour may have begun in between
    assert len(run("schedules", "upcoming", schedule.pk).splitlines()) == 1 + 5
    for count in ("0", "101", "-1"):
        assert refusal("schedules", "upcoming", "nightly", f"--count={count}")[0] == 2
    assert refusal("schedules", "upcoming", "nope")[0] == 2
    schedules.set_enabled(command_actor(), schedule.pk, False)
    assert json.loads(run("schedules", "upcoming", "nightly", "--json")) == []
