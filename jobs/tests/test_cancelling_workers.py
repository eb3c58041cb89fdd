"""A request to stop outlives the worker that it was meant for, and follows a job to another."""

import time

import psutil
import pytest

from jobs.models import Job, JobEvent, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import cancel_job
from jobs.tests import cancel_tasks as tasks
from jobs.tests.programs import programs_writing_to
from jobs.tests.test_cancelling import QUICK

pytestmark = pytest.mark.django_db(transaction=True)

SLOW = {**QUICK, "CANCEL_SOFT_SECONDS": "600", "LEASE_SECONDS": "4"}


@pytest.mark.long
def test_a_job_that_was_asked_to_stop_is_not_run_again_when_its_worker_dies(live_worker, until, ended, tmp_path):
    doomed = live_worker(concurrency=1, **SLOW)
    sent = tasks.tree.delay(str(tmp_path / "tree"))
    until(lambda: len(programs_writing_to(tmp_path / "tree")) == 5)
    cancel_job(command_actor(), sent.id)

    doomed.kill()
    live_worker(concurrency=1, **SLOW)

    job = ended(sent.id, 60)
    assert (job.state, job.attempt) == (State.CANCELLED, 1)
    assert "it was lost: its worker" in job.reason
    # What it had started went with the worker, though nobody was left to tell it: another worker has seen to that.
    until(lambda: not programs_writing_to(tmp_path / "tree"))


@pytest.mark.long
def test_a_worker_that_drains_hands_back_no_job_that_was_asked_to_stop(live_worker, until, ended, tmp_path):
    draining = live_worker(concurrency=2, **SLOW)
    asked, other = tasks.tree.delay(str(tmp_path / "tree")), tasks.sleeper.delay()
    until(lambda: len(programs_writing_to(tmp_path / "tree")) == 5)
    until(Job.objects.filter(pk=other.id, state=State.RUNNING).exists)
    cancel_job(command_actor(), asked.id)

    draining.stop()

    until(lambda: not programs_writing_to(tmp_path / "tree"))
    assert Job.objects.get(pk=other.id).state == State.QUEUED
    live_worker("maintenance", concurrency=1, **SLOW)
    job = ended(asked.id, 60)
    assert (job.state, job.attempt) == (State.CANCELLED, 1)


@pytest.mark.long
def test_a_cancel_reaches_a_job_on_the_worker_that_it_has_moved_to(live_worker, until, ended):
    options = {**QUICK, "LEASE_SECONDS": "4"}
    frozen = live_worker(concurrency=1, **options)
    sent = tasks.polite.delay()
    first = until(Job.objects.filter(pk=sent.id, state=State.RUNNING).first)
    family = [psutil.Process(frozen.pid), *psutil.Process(frozen.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    new = live_worker(concurrency=1, **options)
    try:
        until(Job.objects.filter(pk=sent.id, state=State.RUNNING, worker=new.name).exists, 60)
        cancel_job(command_actor(), sent.id, force=True)
        job = ended(sent.id)
    finally:
        for process in reversed(family):
            process.resume()

    assert (job.state, job.attempt) == (State.CANCELLED, 2)
    until(JobEvent.objects.filter(job_id=sent.id, kind="superseded").exists)
    time.sleep(2)  # two looks of the worker that is back, which has nothing to kill
    assert psutil.pid_exists(first.pid)
    assert Job.objects.get(pk=sent.id).state == State.CANCELLED
