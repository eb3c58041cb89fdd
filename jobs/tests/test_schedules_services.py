"""When schedules run next, what they say, and what operators and tokens may do."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)

from jobs.ledger.errors import JobRefused
from jobs.models import ApiToken, AuditEntry, SchedulePolicy
from jobs.operators import schedules, tokens
from jobs.operators.actors import Actor, command_actor
from jobs.registry import ArgumentsDoNotFit, UnknownTask
from jobs.schedules.calls import ScheduleUnusable
from jobs.schedules.next_runs import describe_schedule, next_runs

pytestmark = pytest.mark.django_db
NEW_YORK = ZoneInfo("America/New_York")


def crontab(text: str, zone: str = "UTC", **fields: Any) -> PeriodicTask:
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    row = CrontabSchedule.objects.create(**dict(zip(names, text.split(), strict=True)), timezone=ZoneInfo(zone))
    return PeriodicTask.objects.create(name=fields.pop("name", text), task="selftest.echo", crontab=row, **fields)


def interval(every: int, period: str, **fields: Any) -> PeriodicTask:
    row = IntervalSchedule.objects.create(every=every, period=period)
    return PeriodicTask.objects.create(name=f"every {every} {period}", task="selftest.echo", interval=row, **fields)


def in_utc(task: PeriodicTask, after: str, count: int = 5) -> list[str]:
    runs = next_runs(task, count, datetime.fromisoformat(after))
    return [f"{run.astimezone(UTC):%m-%d %H:%M}" for run in runs]


def test_a_crontab_runs_in_its_own_time_zone() -> None:
    runs = next_runs(crontab("30 3 * * *", "Asia/Tokyo"), 2, datetime(2026, 6, 1, tzinfo=UTC))

    assert [run.isoformat() for run in runs] == ["2026-06-02T03:30:00+09:00", "2026-06-03T03:30:00+09:00"]


def test_a_daily_time_that_the_clock_skips_runs_an_hour_later_that_day() -> None:
    runs = next_runs(crontab("30 2 * * *", "America/New_York"), 3, datetime(2026, 3, 7, 0, 0, tzinfo=NEW_YORK))

    assert [run.isoformat() for run in runs] == [
        "2026-03-07T02:30:00-05:00",
        "2026-03-08T03:30:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]


def test_a_daily_time_that_comes_twice_runs_once() -> None:
    runs = next_runs(crontab("30 1 * * *", "America/New_York"), 3, datetime(2026, 10, 31, 12, 0, tzinfo=NEW_YORK))

    assert [run.isoformat() for run in runs] == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-02T01:30:00-05:00",
        "2026-11-03T01:30:00-05:00",
    ]


def test_an_hourly_crontab_runs_hourly_through_both_clock_changes() -> None:
    hourly = crontab("0 * * * *", "America/New_York")

    assert in_utc(hourly, "2026-11-01T04:30Z", 3) == ["11-01 05:00", "11-01 06:00", "11-01 07:00"]
    assert in_utc(hourly, "2026-03-08T05:30Z", 3) == ["03-08 06:00", "03-08 07:00", "03-08 08:00"]


def test_an_interval_counts_from_its_start_or_1970_and_knows_no_clock_changes() -> None:
    task = interval(30, "minutes")
    runs = next_runs(task, 6, datetime(2026, 11, 1, 5, 10, tzinfo=UTC))

    assert runs[0] == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    assert {later - earlier for earlier, later in pairwise(runs)} == {timedelta(minutes=30)}
    start = datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)
    late = next_runs(interval(7, "minutes", start_time=start), 1, start + timedelta(days=400))[0]
    assert (late - start) % timedelta(minutes=7) == timedelta()
    assert late - start - timedelta(days=400) <= timedelta(minutes=7)


def test_nothing_runs_when_disabled_expired_or_done() -> None:
    now = timezone.now()

    assert next_runs(interval(1, "minutes", enabled=False)) == []
    assert next_runs(interval(2, "minutes", expires=now - timedelta(seconds=1))) == []
    done = interval(3, "minutes", one_off=True)
    done.total_run_count = 1
    assert next_runs(done) == []
    assert next_runs(crontab("0 0 30 2 *")) == []


def test_runs_end_at_the_expiry_and_begin_at_the_start() -> None:
    start = datetime(2999, 1, 1, 8, 0, tzinfo=UTC)
    limited = crontab("0 8 * * *", start_time=start, expires=start + timedelta(days=2))

    assert next_runs(limited) == [start, start + timedelta(days=1)]
    assert next_runs(interval(1, "hours", start_time=start), 2) == [start, start + timedelta(hours=1)]
    assert next_runs(interval(2, "hours", start_time=start, one_off=True)) == [start]


def test_a_clocked_schedule_runs_once_also_when_it_was_missed() -> None:
    missed = timezone.now() - timedelta(hours=1)
    row = ClockedSchedule.objects.create(clocked_time=missed)
    task = PeriodicTask.objects.create(name="once", task="selftest.echo", clocked=row, one_off=True)

    assert next_runs(task) == [missed]


def test_a_solar_schedule_runs_once_a_day() -> None:
    row = SolarSchedule.objects.create(event="sunrise", latitude="38.72", longitude="-9.14")
    task = PeriodicTask.objects.create(name="sunrise", task="selftest.echo", solar=row)
    task = PeriodicTask.objects.get(pk=task.pk)

    runs = next_runs(task, 3, datetime(2026, 6, 1, tzinfo=UTC))

    assert [run.day for run in runs] == [1, 2, 3]
    assert {run.hour for run in runs} == {5}
    assert describe_schedule(task) == "at sunrise at 38.720000, -9.140000"


@pytest.mark.parametrize(
    ("text", "zone", "words"),
    [
        ("30 3 * * *", "Europe/Lisbon", "at 03:30 daily, Europe/Lisbon"),
        ("*/15 * * * *", "UTC", "every 15 minutes, UTC"),
        ("30 3 * * 1-5", "UTC", "at 03:30, Monday through Friday, UTC"),
    ],
)
def test_a_crontab_is_described_in_words(text: str, zone: str, words: str) -> None:
    assert describe_schedule(crontab(text, zone)) == words


def test_intervals_and_clocked_times_are_described_in_words() -> None:
    assert describe_schedule(interval(15, "minutes")) == "every 15 minutes"
    assert describe_schedule(interval(1, "days", one_off=True)) == "every day, one run only"
    row = ClockedSchedule.objects.create(clocked_time=datetime(2026, 12, 24, 18, 0, tzinfo=UTC))
    task = PeriodicTask.objects.create(name="eve", task="selftest.echo", clocked=row, one_off=True)
    assert describe_schedule(task) == "once at 2026-12-24 18:00:00 UTC"


# --- operators ------------------------------------------------------------------------------------------------------


def person(name: str, *permissions: str, **fields: Any) -> Any:
    user = get_user_model().objects.create_user(name, **fields)
    user.user_permissions.set(
        Permission.objects.get(content_type__app_label=label, codename=codename)
        for label, codename in (permission.split(".") for permission in permissions)
    )
    return get_user_model().objects.get(pk=user.pk)


def test_disabling_keeps_the_last_run_and_enabling_counts_from_now() -> None:
    task = interval(1, "hours")
    last = timezone.now() - timedelta(days=30)
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=last)
    PeriodicTasks.objects.update_or_create(ident=1, defaults={"last_update": last})

    off = schedules.set_enabled(command_actor(), task.pk, False)
    assert (off.enabled, off.last_run_at) == (False, last)
    assert PeriodicTasks.last_change() > last

    on = schedules.set_enabled(command_actor(), task.name, True)
    assert on.enabled
    assert on.last_run_at is None
    policy = SchedulePolicy.objects.get(schedule=task)
    assert timedelta() <= timezone.now() - policy.counted_from < timedelta(minutes=1)
    assert next_runs(on, 1, policy.counted_from)[0] > policy.counted_from


def test_switching_is_audited_once_and_needs_its_permission() -> None:
    task = interval(1, "hours")
    anna = Actor.of_user(person("anna", "django_celery_beat.change_periodictask"), "admin")

    schedules.set_enabled(anna, task.pk, False)
    schedules.set_enabled(anna, task.pk, False)

    assert list(AuditEntry.objects.values_list("actor", "action", "target")) == [
        ("anna", "schedule.disable", str(task.pk))
    ]
    with pytest.raises(PermissionDenied, match="change_periodictask"):
        schedules.set_enabled(Actor.of_user(person("ben"), "api"), task.pk, True)


@pytest.mark.parametrize("unknown", [0, 10**12, "²", "no such", "nul \x00", "x" * 5000])
def test_an_unknown_schedule_is_told_with_what_there_is(unknown: int | str) -> None:
    interval(1, "hours")

    with pytest.raises(schedules.ScheduleNotFound, match=r"there are: .*every 1 hours"):
        schedules.run_now(command_actor(), unknown)


def test_running_now_sends_the_schedules_job_and_leaves_its_next_run() -> None:
    task = interval(1, "hours", args='["hello"]', queue="maintenance", enabled=False)

    job = schedules.run_now(command_actor(), task.pk)

    assert (job.task, job.args, job.queue) == ("selftest.echo", ["hello"], "maintenance")
    assert (job.origin, job.origin_detail) == ("schedule", "every 1 hours")
    assert job.headers["periodic_task_name"] == "every 1 hours"
    assert AuditEntry.objects.get(action="schedule.run").detail["job"] == job.pk
    task.refresh_from_db()
    assert task.last_run_at is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"args": "not json"}, ScheduleUnusable),
        ({"kwargs": "[1]"}, ScheduleUnusable),
        ({"args": "[1, 2, 3]"}, ArgumentsDoNotFit),
        ({"args": "[1]", "queue": "nowhere"}, JobRefused),
        ({"args": "[1]", "exchange": "own"}, JobRefused),
        ({"task": "os.system"}, UnknownTask),
    ],
)
def test_a_schedule_that_cannot_run_says_why(fields: dict[str, str], error: type[Exception]) -> None:
    task = interval(1, "hours")
    PeriodicTask.objects.filter(pk=task.pk).update(**fields)

    with pytest.raises(error):
        schedules.run_now(command_actor(), task.pk)


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_a_token_lets_in_until_it_is_revoked() -> None:
    anna = person("anna")
    token, text = tokens.create_token(command_actor(), anna, "deploy script")

    before = timezone.now().replace(second=0, microsecond=0)
    found = tokens.authenticate(text)
    assert found is not None
    assert found.user == anna
    assert found.last_used_at in (before, timezone.now().replace(second=0, microsecond=0))
    assert len(text) == 47
    assert text not in str(ApiToken.objects.values().get())

    tokens.revoke_token(command_actor(), token.pk)
    assert tokens.authenticate(text) is None
    assert list(AuditEntry.objects.order_by("id").values_list("action", flat=True)) == ["token.create", "token.revoke"]


def test_a_token_that_expired_or_whose_user_is_not_active_is_refused() -> None:
    anna = person("anna")
    token, text = tokens.create_token(command_actor(), anna, "short", timezone.now() + timedelta(days=1))

    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tokens.authenticate(text) is None
    ApiToken.objects.filter(pk=token.pk).update(expires_at=None)
    assert tokens.authenticate(text) is not None
    get_user_model().objects.filter(pk=anna.pk).update(is_active=False)
    assert tokens.authenticate(text) is None


@pytest.mark.parametrize(
    "text", ["", "swy_", "swy_" + "a" * 43, "swy_" + "é" * 43, "swy_" + "a" * 42 + "\x00", "x" * 9999]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    assert tokens.authenticate(text) is None


def test_nobody_but_a_superuser_makes_a_token_for_another() -> None:
    anna = person("anna", "jobs.add_apitoken", "jobs.change_apitoken")
    root = person("root", is_superuser=True)

    tokens.create_token(Actor.of_user(anna, "admin"), anna, "mine")
    theirs, _ = tokens.create_token(Actor.of_user(root, "admin"), anna, "for anna")
    own, _ = tokens.create_token(Actor.of_user(root, "admin"), root, "own")

    with pytest.raises(PermissionDenied, match="of their own"):
        tokens.create_token(Actor.of_user(anna, "admin"), root, "sneaky")
    with pytest.raises(PermissionDenied, match="of their own"):
        tokens.revoke_token(Actor.of_user(anna, "admin"), own.pk)
    with pytest.raises(PermissionDenied, match="add_apitoken"):
        tokens.create_token(Actor.of_user(person("ben"), "api"), anna, "none")
    assert tokens.revoke_token(Actor.of_user(anna, "admin"), theirs.pk).revoked_at


def test_a_token_needs_a_name_and_a_time_to_come() -> None:
    anna = person("anna")

    with pytest.raises(tokens.TokenRefused, match="1 to 100"):
        tokens.create_token(command_actor(), anna, "  ")
    with pytest.raises(tokens.TokenRefused, match="in the past"):
        tokens.create_token(command_actor(), anna, "old", timezone.now())
