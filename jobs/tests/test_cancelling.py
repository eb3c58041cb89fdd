"""Running jobs that are asked to stop do so, by themselves or not, with all that they started."""

import os
import signal
import time

import psutil
import pytest
from celery import chain, current_app

from jobs.ledger.cancel import Mode
from jobs.models import Job, JobEvent, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import cancel_job, retry_job
from jobs.tasks import echo
from jobs.tests import cancel_tasks as tasks
from jobs.tests.live import LiveWorkers

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = {
    "CANCEL_SOFT_SECONDS": "1",
    "CANCEL_KILL_SECONDS": "1",
    "TASK_MODULES": "jobs.tests.probe_tasks,jobs.tests.cancel_tasks",
}


@pytest.fixture(scope="module")
def _quick_worker(django_db_setup, django_db_blocker, tmp_path_factory):
    workers = LiveWorkers(tmp_path_factory.mktemp("workers"))
    with django_db_blocker.unblock():
        worker = workers("default", concurrency=2, **QUICK)
    yield worker
    workers.stop()


@pytest.fixture
def quick_worker(transactional_db, _quick_worker):
    """A worker that gives a job a second to stop by itself, and another after its soft limit."""
    return _quick_worker


@pytest.fixture
def running(until):
    """`running(job_id)`: wait until a worker runs the job, and return its row."""

    def wait(job_id):
        return until(Job.objects.filter(pk=job_id, state=State.RUNNING).first)

    return wait


@pytest.fixture
def tree(tmp_path, until):
    """The file that a task's programs write to, and `those()`, which lists the ones that live."""

    class Tree:
        path = tmp_path / "tree"

        def those(self):
            return [p.pid for p in psutil.process_iter() if _stdout(p.pid) == str(self.path) and _lives(p)]

        def wait_until_grown(self):
            until(lambda: self.path.exists() and len(self.those()) == 5)

    return Tree()


def _stdout(pid):
    try:
        return os.readlink(f"/proc/{pid}/fd/1")  # noqa: PTH115
    except OSError:
        return ""


def _lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kinds(job):
    return list(JobEvent.objects.filter(job_id=job.pk).order_by("at").values_list("kind", flat=True))


def test_a_job_that_looks_stops_by_itself(quick_worker, running, ended):
    sent = tasks.polite.delay()
    running(sent.id)

    cancel_job(command_actor(), sent.id)

    job = ended(sent.id)
    assert (job.state, job.attempts.get().outcome) == (State.CANCELLED, "cancelled")
    assert job.reason.startswith("cancelled by ")
    assert job.reason.endswith("it stopped when it was asked to")
    assert kinds(job) == ["cancel_requested", "cancelled"]


def test_a_job_that_does_not_look_is_stopped_by_its_soft_limit_and_not_retried(quick_worker, running, ended):
    sent = tasks.sleeper.delay()
    pid = running(sent.id).pid

    cancel_job(command_actor(), sent.id)

    job = ended(sent.id)
    assert (job.state, job.attempts.get().outcome) == (State.CANCELLED, "cancelled")
    assert job.reason.endswith("it was stopped by its soft limit")
    assert kinds(job) == ["cancel_requested", "cancel_soft", "cancelled"]
    assert psutil.pid_exists(pid)
    assert current_app.AsyncResult(job.pk).state == "REVOKED"


def test_a_job_that_ends_well_at_its_soft_limit_has_succeeded(quick_worker, running, ended, tmp_path):
    path = tmp_path / "tidied"
    sent = tasks.tidy.delay(str(path))
    running(sent.id)

    cancel_job(command_actor(), sent.id)

    assert (ended(sent.id).state, path.read_text()) == (State.SUCCEEDED, "tidied up")


@pytest.mark.parametrize("task", [tasks.stubborn, tasks.deaf], ids=["swallows every error", "hears no signal"])
def test_a_job_that_will_not_stop_is_killed_and_its_worker_lives(quick_worker, running, ended, task):
    sent = task.delay()
    pid = running(sent.id).pid

    cancel_job(command_actor(), sent.id)

    job = ended(sent.id)
    assert (job.state, job.attempt, job.attempts.get().outcome) == (State.CANCELLED, 1, "cancelled")
    assert job.reason.endswith("so its process was killed")
    assert sorted(kinds(job)) == ["cancel_killed", "cancel_requested", "cancel_soft", "cancelled"]
    assert not psutil.pid_exists(pid)
    assert ended(echo.delay("after").id).state == State.SUCCEEDED


def test_force_kills_at_once(quick_worker, running, ended):
    sent = tasks.polite.delay()
    pid = running(sent.id).pid
    os.kill(pid, signal.SIGSTOP)

    cancel_job(command_actor(), sent.id, force=True)

    job = ended(sent.id)
    assert job.state == State.CANCELLED
    assert "cancel_soft" not in kinds(job)
    assert "as was asked for" in job.reason


@pytest.mark.parametrize("is_deaf", [False, True], ids=["by its soft limit", "by a kill"])
def test_what_a_job_started_stops_with_it(quick_worker, running, ended, until, tree, is_deaf):
    sent = tasks.tree.delay(str(tree.path), is_deaf)
    running(sent.id)
    tree.wait_until_grown()

    cancel_job(command_actor(), sent.id)

    assert ended(sent.id).state == State.CANCELLED
    until(lambda: not tree.those())


def test_what_a_job_started_ends_with_its_hard_limit(quick_worker, ended, until, tree):
    sent = tasks.tree_until_hard_limit.delay(str(tree.path))

    assert ended(sent.id).state == State.FAILED
    until(lambda: not tree.those())


def test_what_a_job_started_ends_with_its_process(quick_worker, running, ended, until, tree):
    sent = tasks.tree.delay(str(tree.path))
    tree.wait_until_grown()
    grown = tree.those()

    os.kill(running(sent.id).pid, signal.SIGKILL)

    until(lambda: not set(grown) & set(tree.those()))
    cancel_job(command_actor(), sent.id, force=True)
    ended(sent.id)


def test_an_error_of_a_job_that_was_asked_to_stop_cancels_it(quick_worker, running, ended):
    sent = tasks.erring.delay()
    running(sent.id)

    cancel_job(command_actor(), sent.id)

    job = ended(sent.id)
    assert (job.state, job.attempt) == (State.CANCELLED, 1)
    assert "it ended with ValueError: broke off" in job.reason


def test_a_cancelled_job_can_be_retried(quick_worker, running, ended):
    sent = tasks.sleeper.delay()
    running(sent.id)
    cancel_job(command_actor(), sent.id, force=True)
    ended(sent.id)

    retry_job(command_actor(), sent.id)

    again = running(sent.id)
    assert (again.cancel_requested_at, again.attempt) == (None, 2)
    time.sleep(2.5)  # longer than both graces: the old request is over
    assert running(sent.id).attempt == 2
    cancel_job(command_actor(), sent.id, force=True)
    assert ended(sent.id).state == State.CANCELLED


def test_celerys_revoke_asks_and_its_terminate_kills(quick_worker, running, ended):
    asked, killed, waiting = tasks.polite.delay(), tasks.deaf.delay(), tasks.sleeper.apply_async(countdown=600)
    running(asked.id)
    running(killed.id)

    for sent in (asked, waiting):
        sent.revoke()
    killed.revoke(terminate=True)

    assert [ended(sent.id).state for sent in (asked, killed, waiting)] == [State.CANCELLED] * 3
    assert "revoked through Celery" in ended(asked.id).reason
    assert "cancel_killed" in kinds(ended(killed.id))


def test_a_revoke_without_terminate_lets_a_job_run_on_that_does_not_look(quick_worker, running, until):
    sent = tasks.sleeper.delay()
    running(sent.id)

    sent.revoke()

    event = until(JobEvent.objects.filter(job_id=sent.id, kind="cancel_requested").first)
    assert event.detail["mode"] == Mode.ASKED
    time.sleep(3)  # longer than both graces
    assert running(sent.id).attempt == 1
    sent.revoke(terminate=True)
    until(Job.objects.filter(pk=sent.id, state=State.CANCELLED).exists)


def test_snooze_runs_again_later_and_uses_no_attempt(quick_worker, ended, until, tmp_path):
    sent = tasks.snoozing.delay(str(tmp_path / "there"), 1.5)

    waiting = until(Job.objects.filter(pk=sent.id, state=State.SCHEDULED).first)
    assert waiting.attempts_used == 0
    job = ended(sent.id)
    assert (job.state, job.attempts_used, job.max_attempts) == (State.SUCCEEDED, 1, 1)
    first, second = job.attempts.all()
    assert (first.outcome, first.message) == ("snoozed", "not yet")
    assert (second.started_at - first.finished_at).total_seconds() >= 1.5
    assert "snoozed" in kinds(job)


def test_a_snoozing_step_keeps_its_chain_open(quick_worker, ended, tmp_path):
    last = chain(tasks.snoozing.s(str(tmp_path / "there"), 0.1), tasks.one_more.s()).delay()

    assert last.get(timeout=20) == "after done"


def test_discard_ends_a_job_with_its_reason_and_stops_its_chain(quick_worker, ended):
    last = chain(tasks.discarding.si(), tasks.one_more.s()).delay()

    job = ended(last.parent.id)
    assert (job.state, job.reason, job.attempt) == (State.DISCARDED, "the pull request was closed", 1)
    assert job.attempts.get().outcome == "discarded"
    ended(echo.delay("after").id)
    assert not Job.objects.filter(pk=last.id).exists()
