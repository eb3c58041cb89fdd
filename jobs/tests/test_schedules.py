"""Real beats on the real tables: every tick once, edits followed, seeds left alone."""

import importlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from celery import current_app
from django.apps import apps
from django.db import OperationalError, connection, transaction
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from jobs.models import CatchUp, Job, ScheduleDefault, SchedulePolicy, ScheduleTick, Worker
from jobs.operators import schedule_edits
from jobs.operators.actors import command_actor
from jobs.operators.schedules import find_schedule
from jobs.schedules import defaults, scheduler, ticking
from jobs.schedules.defaults import differences
from jobs.schedules.scheduler import LedgerScheduler
from jobs.stack.parent import before_exec
from jobs.tests.live import database_url

#: Guards against waiting for ever, not a measure.
STOP_SECONDS = 120

seeds = importlib.import_module("jobs.migrations.0002_seed_schedules")


@pytest.fixture
def beats(transactional_db: None, tmp_path: Path) -> Iterator[list[subprocess.Popen]]:
    """Two beats, as processes."""
    logs = [(tmp_path / f"beat-{n}.log").open("wb") for n in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "config", "beat", "-l", "INFO"],
            env={**os.environ, "DATABASE_URL": database_url()},
            cwd=Path(__file__).resolve().parents[2],
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=before_exec(signal.SIGKILL),
        )
        for log in logs
    ]
    yield processes
    for process in processes:
        process.terminate()
    for process, log in zip(processes, logs, strict=True):
        process.wait(STOP_SECONDS)
        log.close()
        sys.stdout.write(Path(log.name).read_text())


def make_schedules() -> PeriodicTask:
    """One that is due every second, which is returned; and hourly ones that missed one run or five."""
    every_second = IntervalSchedule.objects.create(every=1, period="seconds")
    hourly = IntervalSchedule.objects.create(every=1, period="hours")
    now = datetime.now(UTC)
    half_past = now - timedelta(days=10, minutes=30)
    for hours, catch_up in itertools.product((1, 5), CatchUp.values):
        missed = PeriodicTask.objects.create(
            name=f"{catch_up} {hours}",
            task="selftest.echo",
            args="[1]",
            interval=hourly,
            start_time=half_past,
            last_run_at=now - timedelta(hours=hours),
        )
        SchedulePolicy.objects.filter(schedule=missed).update(catch_up=catch_up)
    return PeriodicTask.objects.create(name="tick", task="selftest.echo", interval=every_second, args='["old"]')


@pytest.mark.django_db(transaction=True)
def test_beats_send_every_tick_once_through_a_kill_an_edit_and_a_downtime(beats, until):
    with transaction.atomic():  # no beat sees a schedule before its policy
        schedule = make_schedules()
    jobs = Job.objects.filter(origin="schedule", origin_detail="tick")
    until(lambda: Worker.objects.filter(name__startswith="beat-").count() == 2, 60)
    until(lambda: jobs.count() >= 3, 40)

    beats[0].kill()
    beats[0].wait(STOP_SECONDS)
    schedule.refresh_from_db()
    schedule.args = '["new"]'
    schedule.save(update_fields=["args"])  # not the count, which beat goes on with
    until(lambda: jobs.filter(args=["new"]).count() >= 3, 40)

    beats[1].terminate()
    beats[1].wait(STOP_SECONDS)
    ticks = list(ScheduleTick.objects.filter(schedule=schedule).order_by("due_at"))
    gaps = {later.due_at - earlier.due_at for earlier, later in itertools.pairwise(ticks)}
    assert gaps == {timedelta(seconds=1)}
    sent = [str(tick.job_id) for tick in ticks if tick.outcome in ("sent", "caught_up")]
    assert sorted(sent) == sorted(jobs.values_list("id", flat=True))
    schedule.refresh_from_db()
    assert schedule.total_run_count == len(sent)
    assert list(jobs.order_by("created_at").values_list("args", flat=True)) == sorted(
        jobs.values_list("args", flat=True), reverse=True
    )
    counts = Counter(Job.objects.exclude(origin_detail="tick").values_list("origin_detail", flat=True))
    assert counts == {"run_once 1": 1, "run_once 5": 1, "run_all 1": 1, "run_all 5": 5}
    assert ScheduleTick.objects.filter(schedule__name="skip 5", outcome="skipped").count() == 5


def test_a_beat_waits_for_postgres_and_outlives_errors(db, monkeypatch):
    beat = LedgerScheduler(current_app, lazy=True)
    monkeypatch.setattr(scheduler, "close_old_connections", lambda: None)  # the test's own among them
    for error in (OperationalError("away"), RuntimeError("odd")):
        monkeypatch.setattr(scheduler, "connection", SimpleNamespace(cursor=connection.cursor, close=lambda: None))
        monkeypatch.setattr(ticking, "tick", Mock(side_effect=error))
        assert beat.tick() == 1.0
    monkeypatch.setattr(ticking, "tick", lambda: 0.25)
    assert beat.tick() == 0.25


def test_the_code_makes_a_schedule_once_follows_it_and_leaves_what_people_edit(db):
    declared = {name: spec for name, spec in defaults._declared.items() if name in {"a", "b", "c"}}
    assert not declared
    try:
        for name in ("a", "b", "c"):
            defaults.default_schedule(name, task="selftest.echo", args=[1], interval={"every": 1, "period": "hours"})
        defaults.store()
        schedule_edits.edit_schedule(command_actor(), "b", {"priority": 7})
        schedule_edits.delete_schedule(command_actor(), "c")
        for name in ("a", "b", "c"):
            defaults.default_schedule(name, task="selftest.echo", args=[2], crontab={"minute": "5", "timezone": "UTC"})
        defaults.store()
        defaults.store()
    finally:
        for name in ("a", "b", "c"):
            defaults._declared.pop(name, None)

    a, b = find_schedule("a"), find_schedule("b")
    assert (a.args, a.interval, a.crontab.minute, differences(a)) == ("[2]", None, "5", {})
    assert (b.args, b.crontab, b.priority) == ("[1]", None, 7)
    assert set(differences(b)) == {"args", "priority", "interval", "crontab"}
    assert differences(b)["priority"] == {"now": 7, "default": None}
    assert not PeriodicTask.objects.filter(name="c").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("operators_act", ["edit", "delete"])
def test_the_code_leaves_alone_what_somebody_edits_while_a_beat_starts(until, operators_act):
    def edit() -> None:
        if operators_act == "edit":
            schedule_edits.edit_schedule(command_actor(), "d", {"priority": 7})
        else:
            schedule_edits.delete_schedule(command_actor(), "d")

    def follow() -> None:
        try:
            defaults.store()
        finally:
            connection.close()

    assert "d" not in defaults._declared
    try:
        defaults.default_schedule("d", task="selftest.echo", args=[1], interval={"every": 1, "period": "hours"})
        defaults.store()
        defaults.default_schedule("d", task="selftest.echo", args=[2], interval={"every": 2, "period": "hours"})
        beat = threading.Thread(target=follow)
        with transaction.atomic():
            edit()
            beat.start()
            until(someone_waits_for_a_lock)
        beat.join()
    finally:
        defaults._declared.pop("d", None)

    kept = PeriodicTask.objects.filter(name="d").values_list("args", "priority", "interval__every")
    assert list(kept) == ([("[1]", 7, 1)] if operators_act == "edit" else [])
    assert ScheduleDefault.objects.get(name="d").spec["args"] == [2]


def someone_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone() != (0,)


@pytest.mark.django_db
def test_jobs_seeds_its_daily_clean_up():
    PeriodicTask.objects.all().delete()

    seeds.seed(apps, None)

    seeded = PeriodicTask.objects.get()
    assert (seeded.task, seeded.queue, seeded.enabled) == ("jobs.clean_up", "maintenance", True)
    assert (seeded.crontab.hour, seeded.crontab.minute) == ("3", "30")
    assert PeriodicTasks.last_change() is not None


@pytest.mark.django_db
def test_seeding_again_overwrites_nothing():
    PeriodicTask.objects.all().delete()
    seeds.seed(apps, None)
    hourly = CrontabSchedule.objects.create(minute="5")
    PeriodicTask.objects.update(crontab=hourly, enabled=False)

    seeds.seed(apps, None)

    seeded = PeriodicTask.objects.get()
    assert (seeded.crontab_id, seeded.enabled) == (hourly.pk, False)
