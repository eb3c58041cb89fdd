"""What becomes of jobs whose process, or whose worker, dies, freezes, is stopped, or does not know them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import psutil
import psycopg
import pytest
from billiard.exceptions import WorkerLostError
from celery import chain, current_app
from celery.exceptions import NotRegistered
from django.db import OperationalError, connection
from django.utils import timezone

from jobs.ledger import finish, rescue, states
from jobs.ledger.connection import LedgerConnection
from jobs.ledger.sweeps import Turn
from jobs.models import Job, State, Worker
from jobs.tasks import echo, sleep
from jobs.tests import probe_tasks as probe
from jobs.tests.factories import make_job
from jobs.tests.live import database_url
from jobs.tests.sending import broker_url, send_from_a_process
from jobs.worker import forgotten, heartbeat, processes

pytestmark = pytest.mark.django_db(transaction=True)

#: Short enough for a test to wait for it.
LEASE = {"LEASE_SECONDS": "5"}


def outcomes(job: Job) -> list[str]:
    return [attempt.outcome for attempt in job.attempts.all()]


def kinds(job: Job) -> list[str]:
    return [event.kind for event in job.events.all()]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What a gated job waits for."""
    return tmp_path / "open"


@pytest.fixture
def sweep() -> Iterator[Callable[[], int]]:
    """One turn of the rescue, after a long calm."""
    with closing(LedgerConnection(durable=True)) as own:
        yield lambda: own.use(lambda opened: rescue.sweep(opened, Turn(timezone.now(), timedelta(hours=1))))


def silent_worker() -> Worker:
    """One that has reported for an hour, and then no more."""
    now = timezone.now()
    began, reported = now - timedelta(hours=2), now - timedelta(hours=1)
    return Worker.objects.create(
        name="w@h", host="h", pid=1, children=1, started_at=began, heartbeat_at=reported, running=[], fetched=[]
    )


def test_what_a_worker_claims_before_it_reports_again_is_not_taken_from_it(sweep):
    """It was frozen, or cut off from Postgres; its next heartbeat comes a moment after its next claim."""
    worker = silent_worker()
    lost = make_job(State.RUNNING, worker=worker.name, started_at=timezone.now() - timedelta(hours=1))
    claimed = make_job(State.RUNNING, worker=worker.name, started_at=timezone.now())

    assert sweep() == 1

    assert "silent" in lost.events.get(kind="rescued").text
    assert Job.objects.get(pk=claimed.pk).state == State.RUNNING


def test_who_has_been_silent_itself_takes_no_job_from_the_silent(sweep, monkeypatch):
    lost = make_job(State.RUNNING, worker=silent_worker().name, started_at=timezone.now() - timedelta(hours=1))
    monkeypatch.setattr(rescue, "seconds_left", lambda: -1.0)
    assert sweep() == 0

    monkeypatch.setattr(rescue, "seconds_left", lambda: 1.0)
    assert sweep() == 1
    assert Job.objects.get(pk=lost.pk).state == State.QUEUED


def test_a_run_whose_row_somebody_holds_is_not_suspected(sweep, monkeypatch):
    """It may be over, and its finish wait for whoever holds the row."""
    monkeypatch.setattr(rescue, "_suspects", {})
    beats = {"started_at": timezone.now() - timedelta(hours=2), "heartbeat_at": timezone.now()}
    Worker.objects.create(name="w@h", host="h", pid=1, children=1, **beats)
    job = make_job(State.RUNNING, worker="w@h", started_at=timezone.now() - timedelta(hours=1))
    with psycopg.connect(database_url()) as other:
        other.execute("SELECT 1 FROM jobs_job WHERE id = %s FOR UPDATE", [job.pk])
        sweep()
        assert rescue._suspects == {}

    sweep()

    assert [job_id for job_id, _ in rescue._suspects] == [job.pk]
    assert Job.objects.get(pk=job.pk).state == State.RUNNING


def test_nothing_is_rescued_while_the_table_is_locked_and_no_dispatcher_waits_for_it(sweep):
    job = make_job(State.RUNNING, worker=silent_worker().name, started_at=timezone.now() - timedelta(hours=1))
    with psycopg.connect(database_url()) as other:
        other.execute("LOCK TABLE jobs_job IN SHARE MODE")  # as CREATE INDEX does
        assert sweep() == 0
    sweep()
    assert Job.objects.get(pk=job.pk).state == State.QUEUED


def test_a_lost_job_that_is_to_rest_waits_for_whoever_holds_its_row_and_the_dispatcher_does_not(sweep):
    long_ago = timezone.now() - timedelta(hours=1)
    values = {"worker": silent_worker().name, "started_at": long_ago, "cancel_requested_at": long_ago}
    job = make_job(State.RUNNING, **values)
    with psycopg.connect(database_url()) as other:
        other.execute("SELECT 1 FROM jobs_job WHERE id = %s FOR UPDATE", [job.pk])
        sweep()
        assert Job.objects.get(pk=job.pk).state == State.RUNNING
    sweep()
    assert Job.objects.get(pk=job.pk).state == State.CANCELLED


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


def test_a_worker_that_is_started_again_under_its_name_gives_back_what_the_dead_one_ran(
    live_worker, ended, until, gate
):
    first = live_worker(concurrency=1)
    sent = probe.gated_again.delay(str(gate))
    until(Job.objects.filter(pk=sent.id, state=State.RUNNING).exists)
    first.kill()
    gate.touch()

    live_worker(concurrency=1, options=["-n", first.name])

    job = ended(sent.id)
    assert (job.state, outcomes(job)) == (State.SUCCEEDED, ["lost", "succeeded"])
    assert "started again" in job.events.get(kind="rescued").text


@pytest.mark.long
def test_a_worker_reports_before_it_takes_its_first_job(live_worker, ended):
    slow = live_worker(concurrency=1, TASK_MODULES="jobs.tests.slow_report_tasks")
    assert Worker.objects.filter(name=slow.name).exists()

    job = ended(sleep.delay(1.0).id)

    assert (job.state, outcomes(job)) == (State.SUCCEEDED, ["succeeded"])


def test_a_worker_is_as_old_as_its_beginning_not_as_its_first_report(monkeypatch):
    monkeypatch.setattr(heartbeat, "_began", {})
    heartbeat.begin()
    with connection.cursor() as cursor:
        job_started_at = cursor.execute("SELECT clock_timestamp()").fetchone()[0]

        heartbeat.report(cursor, name="late@test", queues=[], children=1, memory=None)

    assert Worker.objects.get(name="late@test").started_at < job_started_at


def test_a_report_that_comes_after_the_workers_end_does_not_show_it_as_living(monkeypatch):
    monkeypatch.setattr(heartbeat, "_left", set())

    def report() -> None:
        heartbeat.report(cursor, name="ended@test", queues=[], children=1, memory=None)

    with connection.cursor() as cursor:
        report()
        heartbeat.leave(cursor, "ended@test")
        report()

    assert Worker.objects.get(name="ended@test").stopped_at is not None


def test_a_worker_that_ends_does_not_end_another_one_that_has_its_name_by_now(monkeypatch):
    monkeypatch.setattr(heartbeat, "_left", set())
    other = silent_worker()
    with connection.cursor() as cursor:
        heartbeat.leave(cursor, other.name)

    assert Worker.objects.get().stopped_at is None


@pytest.mark.long
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


def test_a_frozen_worker_that_comes_back_cannot_finish_what_has_moved_on(live_worker, ended, until, gate):
    frozen = live_worker(concurrency=1, **LEASE)
    sent = chain(probe.gated_again.si(str(gate)), echo.si("next")).delay()
    until(Job.objects.filter(task="probe.gated_again", state=State.RUNNING).exists)
    family = [psutil.Process(frozen.pid), *psutil.Process(frozen.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    gate.touch()
    live_worker(concurrency=1, **LEASE)
    job = ended(Job.objects.get(task="probe.gated_again").pk, 40)
    assert outcomes(job) == ["lost", "succeeded"]

    for process in family:
        process.resume()

    until(lambda: outcomes(job) == ["superseded", "succeeded"])
    assert "superseded" in kinds(job)
    assert ended(sent.id).state == State.SUCCEEDED
    assert Job.objects.count() == 2


def test_what_a_child_runs_though_celery_has_forgotten_it_is_known(monkeypatch):
    monkeypatch.setattr(forgotten, "_forgotten", {})
    mine = {"worker": "w@h", "pid": 7}
    runs, of_a_dead_child, ended = make_job(State.RUNNING, **mine), make_job(State.RUNNING, worker="w@h"), make_job()
    make_job(State.RUNNING, **mine)  # not forgotten

    with connection.cursor() as cursor:
        assert forgotten.still_run(cursor, "w@h", {7}) == set()
        forgotten.note([runs.pk, of_a_dead_child.pk, ended.pk])
        assert forgotten.still_run(cursor, "w@h", {7}) == {runs.pk}

        monkeypatch.setattr(forgotten, "KEPT_SECONDS", -1.0)
        assert forgotten.still_run(cursor, "w@h", {7}) == {runs.pk}
        assert set(forgotten._forgotten) == {runs.pk}


@pytest.mark.parametrize("how", [{"started_at": 30.0}, {"cancel_requested_at": 3600.0}])
def test_what_celery_has_forgotten_is_ended_when_it_takes_too_long(monkeypatch, how):
    monkeypatch.setattr(forgotten, "_forgotten", {})
    killed: list[int] = []
    monkeypatch.setattr(processes, "end_child", killed.append)
    times = {name: timezone.now() - timedelta(seconds=ago) for name, ago in how.items()}
    usual = {"task": probe.hard.name, "worker": "w@h", "started_at": timezone.now()}
    late = make_job(State.RUNNING, **{**usual, "pid": 7, **times})
    make_job(State.RUNNING, **usual, pid=8)
    forgotten.note([job.pk for job in Job.objects.all()])

    with connection.cursor() as cursor:
        forgotten.still_run(cursor, "w@h", {7, 8})

    assert killed == [late.pid]


@pytest.mark.long
def test_a_job_that_a_child_began_while_the_broker_went_away_is_not_taken_from_it(
    valkey,
    live_worker,
    ended,
    until,
    gate,
):
    worker = live_worker(concurrency=1, BROKER_URL=broker_url(valkey), **LEASE)
    (child,) = psutil.Process(worker.pid).children()
    child.suspend()
    send_from_a_process(
        f"from jobs.tests import probe_tasks; probe_tasks.gated.apply_async(({str(gate)!r},), task_id='slow')",
        BROKER_URL=broker_url(valkey),
    )
    until(Worker.objects.filter(name=worker.name, fetched__contains="slow").exists)
    valkey.process.kill()
    valkey.process.wait()
    until(lambda: "onnection to broker lost" in worker.log())
    child.resume()
    valkey.run(subprocess.DEVNULL)

    until(Worker.objects.filter(name=worker.name, running__contains="slow").exists)
    gate.touch()

    assert outcomes(ended("slow")) == ["succeeded"]


@pytest.mark.long
def test_a_stopped_worker_hands_back_what_does_not_end_in_time_and_no_attempt_is_used(live_worker, ended, until, gate):
    stopped = live_worker(concurrency=1, DRAIN_SECONDS="1")
    sent = [probe.gated.delay(str(gate)), echo.delay(1)]
    until(Job.objects.filter(pk=sent[0].id, state=State.RUNNING).exists)

    os.kill(stopped.pid, signal.SIGTERM)
    stopped.process.wait(120)
    assert stopped.process.returncode == 0
    assert Worker.objects.get(name=stopped.name).stopped_at is not None
    gate.touch()
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


@pytest.mark.long
def test_a_child_that_the_kernel_kills_for_memory_is_recorded_as_out_of_memory(small_group, live_worker, ended):
    worker = live_worker(concurrency=1)
    for process in [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]:
        (small_group / "cgroup.procs").write_text(str(process.pid))

    job = ended(probe.hungry.delay(300).id)

    assert (job.state, outcomes(job)) == (State.FAILED, ["crashed"])
    assert "out of memory" in job.error
    worker.stop()
