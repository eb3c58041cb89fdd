"""Schedules in the admin: when they run next, one form for each kind, and actions that are recorded."""

import html
import json
import re
from datetime import timedelta

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from jobs.models import AuditEntry, Job
from jobs.tests.admin_helpers import client_with, job_page_url, opened, page_of, said
from jobs.tests.factories import make_job

pytestmark = pytest.mark.django_db
MODEL = "django_celery_beat_periodictask"
BEAT = "django_celery_beat"
FORM = {
    "name": "Nightly",
    "task": "selftest.echo",
    "args": "[7]",
    "kwargs": "{}",
    "enabled": "on",
    "kind": "crontab",
    "cron": "30 2 * * 1-5",
    "cron_zone": "Europe/Lisbon",
    "queue": "",
}


@pytest.fixture
def schedule(db) -> PeriodicTask:
    crontab = CrontabSchedule.objects.create(minute="30", hour="2", timezone="Europe/Lisbon")
    return PeriodicTask.objects.create(name="Daily echo", task="selftest.echo", args="[1]", crontab=crontab)


@pytest.fixture
def editor(db):
    return client_with(
        *(f"{BEAT}.{verb}_periodictask" for verb in ("view", "add", "change", "delete")),
        *("jobs.view_job", "jobs.enqueue_job"),
    )


@pytest.fixture
def viewer(db):
    return client_with(f"{BEAT}.view_periodictask")


def url(page: str, schedule: PeriodicTask) -> str:
    return page_of(MODEL, page, schedule.pk)


def change_row():
    return PeriodicTasks.objects.get(ident=1).last_update


@pytest.mark.parametrize("page", ["changelist", "change"])
def test_the_next_five_runs_are_shown_in_the_schedules_zone_and_in_utc(viewer, schedule, page):
    response = viewer.get(page_of(MODEL) if page == "changelist" else url(page, schedule))

    html = response.content.decode()
    assert "at 02:30 daily, Europe/Lisbon" in html
    assert html.count("02:30:00 WE") == 5 if page == "change" else html.count("02:30:00 WE") >= 5
    assert ":30:00 UTC" in html


def test_a_viewer_can_neither_run_nor_switch_nor_edit(viewer, schedule):
    html = viewer.get(url("change", schedule)).content.decode()
    assert "Run now" not in html
    assert ">Disable<" not in html
    for page in ("run", "enable", "disable"):
        assert viewer.post(url(page, schedule)).status_code == 403
    assert viewer.post(url("change", schedule), FORM).status_code == 403
    for action in ("run_selected", "enable_selected", "disable_selected", "delete_selected"):
        viewer.post(page_of(MODEL), {"action": action, ACTION_CHECKBOX_NAME: [schedule.pk], "post": "yes"})
    schedule.refresh_from_db()
    assert schedule.enabled
    assert not Job.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("page", ["run", "enable", "disable"])
def test_a_get_does_nothing(schedule, page):
    client = client_with(f"{BEAT}.view_periodictask", f"{BEAT}.change_periodictask", "jobs.enqueue_job")
    assert client.get(url(page, schedule)).status_code == 405
    schedule.refresh_from_db()
    assert schedule.enabled
    assert not Job.objects.exists()


def test_run_now_makes_a_job_and_leads_to_it(schedule):
    client = client_with(f"{BEAT}.view_periodictask", "jobs.enqueue_job", "jobs.view_job")

    response = client.post(url("run", schedule))

    job = Job.objects.get()
    assert (job.task, job.args, job.origin, job.origin_detail) == ("selftest.echo", [1], "schedule", schedule.name)
    assert job_page_url(job) in said(response)
    assert AuditEntry.objects.get().action == "schedule.run"
    assert job_page_url(job) in client.get(url("change", schedule)).content.decode()


@pytest.mark.parametrize(
    ("field", "value"), [("task", "no.such"), ("args", "{"), ("args", "[1, 2, 3]"), ("queue", "nope")]
)
def test_a_schedule_that_cannot_run_says_why(schedule, field, value):
    PeriodicTask.objects.filter(pk=schedule.pk).update(**{field: value})
    client = client_with(f"{BEAT}.view_periodictask", "jobs.enqueue_job")

    assert said(client.post(url("run", schedule))).startswith("Not run: ")
    assert client.get(url("change", schedule)).status_code == 200


def test_switching_off_and_on_is_recorded_and_told_to_beat(editor, schedule):
    before = change_row()

    assert said(editor.post(url("disable", schedule))) == "1 schedule disabled."
    schedule.refresh_from_db()
    assert not schedule.enabled
    assert change_row() > before

    body = {"action": "enable_selected", ACTION_CHECKBOX_NAME: [schedule.pk]}
    assert said(editor.post(page_of(MODEL), body)).endswith("1 schedule enabled.")
    assert "0 schedules enabled; 1 not" in said(editor.post(page_of(MODEL), body))
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "schedule.disable",
        "schedule.enable",
    ]


def test_a_crontab_is_typed_in_the_same_form(editor):
    response = editor.post(page_of(MODEL, "add"), FORM)

    assert response.status_code == 302, response.context["errors"]
    made = PeriodicTask.objects.get(name="Nightly")
    assert (made.crontab.minute, made.crontab.hour, made.crontab.day_of_week) == ("30", "2", "1-5")
    assert str(made.crontab.timezone) == "Europe/Lisbon"
    assert (json.loads(made.args), made.interval, made.queue) == ([7], None, None)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target) == ("schedule.create", str(made.pk))


def test_a_schedule_changes_its_kind_and_the_audit_log_says_from_what_to_what(editor, schedule):
    before = change_row()
    body = {**FORM, "name": schedule.name, "args": "[1]", "kind": "interval", "every": "15", "period": "minutes"}

    response = editor.post(url("change", schedule), body)

    assert response.status_code == 302, response.context["errors"]
    schedule.refresh_from_db()
    assert (schedule.crontab, str(schedule.interval)) == (None, "every 15 minutes")
    assert change_row() > before
    changed = AuditEntry.objects.get().detail["changed"]
    assert set(changed) == {"crontab", "interval"}
    assert changed["interval"] == [None, "every 15 minutes"]
    editor.post(url("change", schedule), body)
    assert IntervalSchedule.objects.filter(every=15, period="minutes").count() == 1


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"kind": "clocked", "clocked_at": f"{timezone.now() + timedelta(days=1):%Y-%m-%dT%H:%M}"}, "clocked"),
        ({"kind": "solar", "event": "sunset", "latitude": "38.7", "longitude": "-9.1"}, "solar"),
        ({"kind": "interval", "every": "3", "period": "days"}, "interval"),
    ],
)
def test_every_kind_can_be_made_and_opened_again(editor, given, kind):
    assert editor.post(page_of(MODEL, "add"), {**FORM, **given}).status_code == 302
    made = PeriodicTask.objects.get(name="Nightly")
    assert getattr(made, kind) is not None
    assert made.one_off is (kind == "clocked")
    page = editor.get(url("change", made))
    assert page.context["adminform"].form["kind"].value() == kind
    assert editor.get(page_of(MODEL)).status_code == 200


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "Daily echo"}, "name"),
        ({"task": "no.such"}, "task"),
        ({"args": "[1"}, "args"),
        ({"args": "[1, 2]"}, "args"),
        ({"args": "[]", "kwargs": '{"nonsense": 1}'}, "kwargs"),
        ({"cron": ""}, "cron"),
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "99 * * * *"}, "cron"),
        ({"cron": "a b c d e"}, "cron"),
        ({"cron_zone": "Mars/Base"}, "cron_zone"),
        ({"kind": "interval", "every": "0"}, "every"),
        ({"kind": "interval"}, "every"),
        ({"kind": "interval", "every": "9" * 40, "period": "days"}, "every"),
        ({"kind": "clocked"}, "clocked_at"),
        ({"kind": "clocked", "clocked_at": "0001-01-01T00:00"}, "clocked_at"),
        ({"start_time": "9999-12-31T23:59"}, "start_time"),
        ({"kind": "solar", "event": "sunset", "latitude": "98", "longitude": "0"}, "latitude"),
        ({"queue": "nowhere"}, "queue"),
        ({"priority": "10"}, "priority"),
        ({"kind": "never"}, "kind"),
    ],
)
def test_a_wrong_value_is_told_at_its_field(editor, schedule, given, field):
    response = editor.post(page_of(MODEL, "add"), {**FORM, **given})

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert PeriodicTask.objects.exclude(name__startswith="Clean").count() == 1


def test_a_form_puts_nothing_back_that_others_changed_since_it_was_opened(editor, schedule):
    form = opened(editor, url("change", schedule))
    meanwhile = {"args": "[2]", "queue": "fast_lane", "priority": 7, "one_off": True, "enabled": False}
    PeriodicTask.objects.filter(pk=schedule.pk).update(
        **meanwhile, crontab=None, interval=IntervalSchedule.objects.create(every=5, period="minutes")
    )

    assert editor.post(url("change", schedule), {**form, "description": "Checked."}).status_code == 302

    schedule.refresh_from_db()
    assert {name: getattr(schedule, name) for name in meanwhile} == meanwhile
    assert (schedule.description, schedule.crontab, schedule.interval.every) == ("Checked.", None, 5)
    assert set(AuditEntry.objects.get(action="schedule.change").detail["changed"]) == {"description"}


def test_other_times_given_in_an_open_form_leave_whether_it_runs_once_to_others(editor, schedule):
    form = opened(editor, url("change", schedule))
    PeriodicTask.objects.filter(pk=schedule.pk).update(one_off=True)

    editor.post(url("change", schedule), {**form, "cron": "45 3 * * *"})

    schedule.refresh_from_db()
    assert (schedule.crontab.minute, schedule.one_off) == ("45", True)


def test_a_refused_form_still_knows_what_it_showed_at_first(editor, schedule):
    form = opened(editor, url("change", schedule))
    PeriodicTask.objects.filter(pk=schedule.pk).update(description="Theirs.")

    refused = editor.post(url("change", schedule), {**form, "cron": "x"})
    assert refused.status_code == 200
    found = re.search(r'name="shown" value="([^"]*)"', refused.content.decode())
    assert found
    assert html.unescape(found[1]) == form["shown"]


def test_a_time_finer_than_a_browser_can_hold_is_shown_to_the_second_and_kept(editor, schedule):
    starts = timezone.now().replace(microsecond=123456) + timedelta(days=1)
    PeriodicTask.objects.filter(pk=schedule.pk).update(start_time=starts)

    form = opened(editor, url("change", schedule))
    editor.post(url("change", schedule), {**form, "description": "Checked."})

    schedule.refresh_from_db()
    assert "." not in form["start_time"]
    assert schedule.start_time == starts


def test_switching_off_in_the_form_keeps_when_it_last_ran_and_switching_on_counts_from_now(editor, schedule):
    last = timezone.now() - timedelta(days=2)
    PeriodicTask.objects.filter(pk=schedule.pk).update(last_run_at=last)
    body = {**FORM, "name": schedule.name}

    editor.post(url("change", schedule), {name: value for name, value in body.items() if name != "enabled"})
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.last_run_at) == (False, last)

    editor.post(url("change", schedule), body)
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.last_run_at) == (True, None)


def test_an_end_beside_a_lifetime_of_its_jobs_is_told(editor, schedule):
    PeriodicTask.objects.filter(pk=schedule.pk).update(expire_seconds=60)
    response = editor.post(url("change", schedule), {**FORM, "expires": "2999-01-01T00:00"})
    assert "expires" in response.context["adminform"].form.errors


def test_deleting_is_recorded_and_told_to_beat(editor, schedule):
    before = change_row()
    editor.post(url("delete", schedule), {"post": "yes"})
    assert not PeriodicTask.objects.filter(pk=schedule.pk).exists()
    assert change_row() > before
    assert AuditEntry.objects.get().action == "schedule.delete"


def test_a_timetable_in_use_cannot_be_deleted_from_under_its_schedule(schedule):
    client = client_with(f"{BEAT}.view_crontabschedule", f"{BEAT}.delete_crontabschedule")
    model = "django_celery_beat_crontabschedule"
    assert client.post(page_of(model, "delete", schedule.crontab.pk), {"post": "yes"}).status_code == 403
    body = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [schedule.crontab.pk], "post": "yes"}
    client.post(page_of(model), body)
    assert PeriodicTask.objects.filter(pk=schedule.pk).exists()


def test_the_link_to_a_schedules_jobs_leads_to_them(editor, schedule):
    mine = make_job(origin="schedule", origin_detail=schedule.name)
    make_job()
    response = editor.get(page_of("jobs_job"), {"schedule": schedule.name})
    assert [job.pk for job in response.context["cl"].result_list] == [mine.pk]


def test_hostile_names_and_arguments_are_inert(editor, schedule):
    hostile = "<script>alert(1)</script>"
    PeriodicTask.objects.filter(pk=schedule.pk).update(
        name=hostile, task=hostile, args=f'["{hostile}"]', description=hostile
    )
    for address in (page_of(MODEL), url("change", schedule), "/admin/"):
        html = editor.get(address).content.decode()
        assert "alert(1)" in html
        assert hostile not in html


def test_thousands_of_schedules_do_not_slow_the_lists(editor, django_assert_max_num_queries):
    every = IntervalSchedule.objects.create(every=1, period="hours")
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"s{number}", task="selftest.echo", interval=every) for number in range(2_000)
    )
    with django_assert_max_num_queries(12):
        assert editor.get(page_of(MODEL)).status_code == 200
    with django_assert_max_num_queries(15):
        assert editor.get("/admin/").status_code == 200


@pytest.mark.parametrize(
    "broken",
    [{"minute": "abc"}, {"minute": "99"}, {"day_of_week": "someday"}, {"day_of_month": "30", "month_of_year": "2"}],
)
def test_a_timetable_that_can_never_be_due_breaks_no_page(editor, broken):
    crontab = CrontabSchedule.objects.create(**broken)
    task = PeriodicTask.objects.create(name="never", task="selftest.echo", args="{", kwargs="[", crontab=crontab)
    for address in ("/admin/", page_of(MODEL), url("change", task)):
        assert editor.get(address).status_code == 200
