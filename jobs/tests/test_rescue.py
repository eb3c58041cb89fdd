"""What becomes of jobs whose process, or whose worker, dies, freezes, is stopped, or does not know them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from billiard.exceptions import WorkerLostError
from celery import chain, current_app
from celery.exceptions import NotRegistered
from django.db import OperationalError

from jobs.ledger import finish, states
from jobs.models import Job, State, Worker
from jobs.tasks import echo, sleep
from jobs.tests import probe_tasks as probe
from jobs.tests.live import database_url

pytestmark = pytest.mark.django_db(transaction=True)

#: Short enough for a test to wait for it.
LEASE = {"LEASE_SECONDS": "5"}


def outcomes(job: Job) -> list[str]:
    return [attempt.outcome for attempt in job.attempts.all()]


def kinds(job: Job) -> list[str]:
    return [event.kind for event in job.events.all()]


def test_a_killed_workers_jobs_and_fetched_messages_run_elsewhere_once(live_worker, ended, until):
    doomed = live_worker(concurrency=2, **LEASE)
    live_worker(concurrency=2, **LEASE)
    sent = [sleep.delay(1.0) for _ in range(12)]
    until(lambda: Job.objects.filter(state=State.RUNNING).values("worker").distinct().count() == 2)

    doomed.kill()

    jobs = [ended(result.id, 40) for result in sent]
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    rescued = [job for job in jobs if job.attempt > 1]
    assert rescued
    assert {tuple(outcomes(job)) for job in rescued} == {("lost", "succeeded")}
    assert all("silent" in job.events.get(kind="rescued").text for job in rescued)


def test_a_worker_that_is_started_again_under_its_name_gives_back_what_the_dead_one_ran(live_worker, ended, until):
    first = live_worker(concurrency=1)
    sent = sleep.delay(1.5)
    until(Job.objects.filter(pk=sent.id, state=State.RUNNING).exists)
    first.kill()

    live_worker(concurrency=1, options=["-n", first.name])

    job = ended(sent.id)
    assert (job.state, outcomes(job)) == (State.SUCCEEDED, ["lost", "succeeded"])
    assert "started again" in job.events.get(kind="rescued").text


def test_a_second_worker_of_a_living_ones_name_is_refused(live_worker, until):
    first = live_worker(concurrency=1)
    until(Worker.objects.filter(name=first.name).exists)

    with pytest.raises(AssertionError, match=f"a worker named {first.name} runs here already"):
        live_worker(concurrency=1, options=["-n", first.name])

    assert first.process.poll() is None


def test_each_worker_of_a_lane_has_a_name_of_its_own_and_a_dead_ones_is_free_again():
    script = "import django; django.setup(); from jobs.stack.names import node_name; print(node_name('l'), flush=True)"
    command = [sys.executable, "-c", f"{script}; input()"]

    def start() -> "subprocess.Popen[str]":
        environment = {**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "config.settings"}
        folder = Path(__file__).resolve().parents[2]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, cwd=folder, stdin=pipe, stdout=pipe, text=True)

    first, second = start(), start()
    names = {first.stdout.readline().split("@")[0], second.stdout.readline().split("@")[0]}
    assert names == {"l", "l.2"}
    for process in (first, second):
        process.kill()
        process.wait()
    third = start()
    assert third.stdout.readline().startswith("l@")
    third.kill()
    third.wait()


def test_a_frozen_worker_that_comes_back_cannot_finish_what_has_moved_on(live_worker, ended, until):
    frozen = live_worker(concurrency=1, **LEASE)
    sent = chain(sleep.si(1.0), echo.si("next")).delay()
    until(Job.objects.filter(task="selftest.sleep", state=State.RUNNING).exists)
    family = [psutil.Process(frozen.pid), *psutil.Process(frozen.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    live_worker(concurrency=1, **LEASE)
    job = ended(Job.objects.get(task="selftest.sleep").pk, 40)
    assert outcomes(job) == ["lost", "succeeded"]

    for process in family:
        process.resume()

    until(lambda: outcomes(job) == ["superseded", "succeeded"])
    assert "superseded" in kinds(job)
    assert ended(sent.id).state == State.SUCCEEDED
    assert Job.objects.count() == 2


def test_a_stopped_worker_hands_back_what_does_not_end_in_time_and_no_attempt_is_used(live_worker, ended, until):
    stopped = live_worker(concurrency=1, DRAIN_SECONDS="1")
    sent = [probe.long.delay(4.0), echo.delay(1)]
    until(Job.objects.filter(pk=sent[0].id, state=State.RUNNING).exists)

    os.kill(stopped.pid, signal.SIGTERM)
    stopped.process.wait(30)
    assert stopped.process.returncode == 0
    live_worker(concurrency=2)

    job = ended(sent[0].id)
    assert (job.state, outcomes(job), kinds(job)) == (State.SUCCEEDED, ["handed_back", "succeeded"], ["handed_back"])
    assert (job.attempts_used, job.max_attempts, job.crashes) == (1, 1, 0)
    assert ended(sent[1].id).state == State.SUCCEEDED


def test_a_lost_child_and_an_unknown_task_do_not_end_the_worker_while_postgres_is_away(monkeypatch):
    def away(*_, **__):
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(finish, "find_run", away)
    monkeypatch.setattr(states, "park", away)
    lost = SimpleNamespace(lost_pid=1, hostname="w@host")

    current_app.backend.mark_as_failure("lost", WorkerLostError("killed"), request=lost)
    current_app.backend.mark_as_failure("unknown", NotRegistered("nobody.knows"), request=SimpleNamespace())


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group of 100 MB; needs root and version 1 of the memory controller."""
    folder = Path(f"/sys/fs/cgroup/memory/switchyard-test-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text("100000000")
    except OSError as exc:
        pytest.skip(f"no control group can be made for the out-of-memory test: {exc}")
    yield folder
    for pid in (folder / "cgroup.procs").read_text().split():
        (folder.parent / "cgroup.procs").write_text(pid)
    folder.rmdir()


def test_a_child_that_the_kernel_kills_for_memory_is_recorded_as_out_of_memory(small_group, live_worker, ended):
    worker = live_worker(concurrency=1)
    for process in [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]:
        (small_group / "cgroup.procs").write_text(str(process.pid))

    job = ended(probe.hungry.delay(300).id)

    assert (job.state, outcomes(job)) == (State.FAILED, ["crashed"])
    assert "out of memory" in job.error
    worker.stop()
