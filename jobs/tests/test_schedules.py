"""Real beats on the real tables: every tick once, edits followed, seeds left alone."""

import importlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from jobs.models import Job, Worker
from jobs.stack.parent import before_exec
from jobs.tests.live import database_url

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
        process.wait(20)
        log.close()
        sys.stdout.write(Path(log.name).read_text())


@pytest.mark.django_db(transaction=True)
def test_two_beats_send_every_tick_once_and_follow_an_edit(beats, until):
    every_second = IntervalSchedule.objects.create(every=1, period="seconds")
    schedule = PeriodicTask.objects.create(name="tick", task="selftest.echo", interval=every_second, args='["old"]')
    ticks = Job.objects.filter(origin="schedule", origin_detail="tick")
    until(lambda: Worker.objects.filter(name__startswith="beat-").count() == 2, 40)
    until(lambda: ticks.count() >= 5, 40)

    schedule.refresh_from_db()
    schedule.args = '["new"]'
    schedule.save()
    until(ticks.filter(args=["new"]).exists, 20)

    for beat in beats:
        beat.terminate()
        beat.wait(20)
    times = list(ticks.order_by("created_at").values_list("created_at", flat=True))
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
    assert min(gaps) > 0.5, f"a tick was sent twice: {gaps}"
    schedule.refresh_from_db()
    assert schedule.total_run_count == len(times)


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
