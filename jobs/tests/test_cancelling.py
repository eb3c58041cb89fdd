"""Running jobs that are asked to stop do so, by themselves or not, with all that they started."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import psutil
import pytest
from celery import Task, chain, current_app
from django.db import transaction
from django.db.models import F

from jobs.ledger.cancel import Mode
from jobs.models import Job, JobEvent, State
from jobs.operators.actors import command_actor
from jobs.operators.cancelling import cancelling_of
from jobs.operators.jobs import JobNotChanged, cancel_job, retry_job
from jobs.tasks import echo
from jobs.tests import cancel_tasks as tasks
from jobs.tests.programs import programs_writing_to

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = {
    "CANCEL_SOFT_SECONDS": "1",
    "CANCEL_KILL_SECONDS": "1",
    "DRAIN_SECONDS": "1",
    "TASK_MODULES": "jobs.tests.probe_tasks,jobs.tests.cancel_tasks",
}
#: For what is to stop after its soft limit, and on a busy machine takes a while to.
PATIENT = {**QUICK, "CANCEL_KILL_SECONDS": "600"}
BY_THEMSELVES = {"polite", "erring"}
RAISED = {"sleeper", "tidy", "tree", "stubborn", "deaf", "deaf tree"}
KILLED = {"stubborn", "deaf", "deaf tree", "forced"}


@dataclass
class Ended:
    """A job after its end. child_lives: the process that ran it first. programs: what it started and still lives."""

    job: Job
    outcomes: list[str]
    kinds: list[str]
    stage: str
    celery_state: str
    child_lives: bool
    programs: list[int]


def wait_for(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def stubborn_worker(shared_workers):
    """A worker that gives a job a second to stop by itself, and another after its soft limit."""
    return shared_workers("default", concurrency=6, **QUICK)


@pytest.fixture(scope="module")
def patient_worker(shared_workers):
    """A worker that kills no job that stops after its soft limit."""
    return shared_workers("fast_lane", concurrency=5, **PATIENT)


def ask_to_stop(name, job_id):
    """Cancel a job. Of those that stop by themselves no grace ends before: they are asked in ten minutes, so to say."""
    with transaction.atomic():
        cancel_job(command_actor(), job_id, force=name == "forced")
        if name in BY_THEMSELVES:
            later = F("cancel_requested_at") + timedelta(minutes=10)
            Job.objects.filter(pk=job_id).update(cancel_requested_at=later)


def note_of(kind, job_id):
    """The worker notes what it did a moment later, when the job may have ended already."""
    return wait_for(JobEvent.objects.filter(job_id=job_id, kind=kind).first)


def left_running(path):
    """The programs that write to this file and will not go; one that was killed takes a moment to be gone."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not programs_writing_to(path), 60)
    return programs_writing_to(path)


@pytest.fixture(scope="module")
def stopped(stubborn_worker, patient_worker, django_db_blocker, tmp_path_factory):
    """Jobs of every kind, all stopped at the same time: name → Ended."""
    folder = tmp_path_factory.mktemp("stopped")
    patiently = partial(Task.apply_async, queue="fast_lane")
    sent = {
        "polite": lambda: patiently(tasks.polite),
        "sleeper": lambda: patiently(tasks.sleeper),
        "tidy": lambda: patiently(tasks.tidy, (str(folder / "tidied"),)),
        "stubborn": tasks.stubborn.delay,
        "deaf": tasks.deaf.delay,
        "erring": lambda: patiently(tasks.erring),
        "forced": tasks.polite.delay,
        "tree": lambda: patiently(tasks.tree, (str(folder / "tree"),)),
        "deaf tree": lambda: tasks.tree.delay(str(folder / "deaf tree"), True),
        "overlong tree": lambda: tasks.tree_until_hard_limit.delay(str(folder / "overlong tree")),
    }
    with django_db_blocker.unblock():
        ids = {name: send().id for name, send in sent.items()}
        first = {name: wait_for(Job.objects.filter(pk=i, attempt__gt=0).first) for name, i in ids.items()}
        wait_for(lambda: all(len(programs_writing_to(folder / name)) == 5 for name in ("tree", "deaf tree")))
        os.kill(first["forced"].pid, signal.SIGSTOP)
        for name, job_id in ids.items():
            if name != "overlong tree":
                ask_to_stop(name, job_id)
        jobs = {name: wait_for(Job.objects.filter(pk=i, finished_at__isnull=False).first) for name, i in ids.items()}
        for kind, names in (("cancel_soft", RAISED), ("cancel_killed", KILLED)):
            for name in names:
                note_of(kind, ids[name])
        yield {
            name: Ended(
                job=job,
                outcomes=list(job.attempts.values_list("outcome", flat=True)),
                kinds=sorted(JobEvent.objects.filter(job_id=job.pk).values_list("kind", flat=True)),
                stage=getattr(cancelling_of(job), "stage", ""),
                celery_state=current_app.AsyncResult(job.pk).state,
                child_lives=psutil.pid_exists(first[name].pid),
                programs=left_running(folder / name),
            )
            for name, job in jobs.items()
        }


def test_a_job_that_looks_stops_by_itself(stopped):
    polite = stopped["polite"]

    assert (polite.job.state, polite.outcomes) == (State.CANCELLED, ["cancelled"])
    assert polite.job.reason.startswith("cancelled by ")
    assert polite.job.reason.endswith("; it stopped when it was asked to")
    assert (polite.kinds, polite.stage) == (["cancel_requested", "cancelled"], "requested")


def test_a_job_that_does_not_look_is_stopped_by_its_soft_limit_and_not_retried(stopped):
    sleeper = stopped["sleeper"]

    assert (sleeper.job.state, sleeper.outcomes) == (State.CANCELLED, ["cancelled"])
    assert sleeper.job.reason.endswith("; it was stopped by its soft limit")
    assert (sleeper.kinds, sleeper.stage) == (["cancel_requested", "cancel_soft", "cancelled"], "soft")
    assert (sleeper.celery_state, sleeper.child_lives) == ("REVOKED", True)


def test_a_job_that_ends_well_at_its_soft_limit_has_succeeded(stopped):
    assert (stopped["tidy"].job.state, stopped["tidy"].celery_state) == (State.SUCCEEDED, "SUCCESS")


@pytest.mark.parametrize("name", ["stubborn", "deaf"])
def test_a_job_that_will_not_stop_is_killed(stopped, name):
    ended = stopped[name]

    assert (ended.job.state, ended.job.attempt, ended.outcomes) == (State.CANCELLED, 1, ["cancelled"])
    assert ended.job.reason.endswith("of its soft limit, so its process was killed")
    assert ended.kinds == ["cancel_killed", "cancel_requested", "cancel_soft", "cancelled"]
    assert (ended.stage, ended.child_lives) == ("killed", False)


def test_force_kills_at_once(stopped):
    forced = stopped["forced"]

    assert (forced.job.state, forced.child_lives) == (State.CANCELLED, False)
    assert "cancel_soft" not in forced.kinds
    assert "as was asked for" in forced.job.reason


def test_an_error_of_a_job_that_was_asked_to_stop_cancels_it(stopped):
    erring = stopped["erring"]

    assert (erring.job.state, erring.job.attempt) == (State.CANCELLED, 1)
    assert "it ended with ValueError: broke off" in erring.job.reason


@pytest.mark.parametrize("name", ["tree", "deaf tree", "overlong tree"])
def test_what_a_job_started_ends_with_it(stopped, name):
    assert stopped[name].job.state == (State.FAILED if name == "overlong tree" else State.CANCELLED)
    assert stopped[name].programs == []


def test_the_worker_and_its_neighbours_live(stopped, stubborn_worker, ended):
    assert ended(echo.delay("after").id).state == State.SUCCEEDED
    assert stubborn_worker.process.poll() is None


@pytest.fixture
def running(until):
    """`running(job_id)`: wait until a worker runs the job, and return its row."""

    def wait(job_id):
        return until(Job.objects.filter(pk=job_id, state=State.RUNNING).first)

    return wait


def test_what_a_job_started_ends_with_its_process(stubborn_worker, running, ended, until, tmp_path):
    sent = tasks.tree.delay(str(tmp_path / "tree"))
    grown = until(lambda: len(found := programs_writing_to(tmp_path / "tree")) == 5 and found)

    os.kill(running(sent.id).pid, signal.SIGKILL)

    until(lambda: not set(grown) & set(programs_writing_to(tmp_path / "tree")))
    until(Job.objects.filter(pk=sent.id, state=State.RUNNING, attempt=2).exists)
    cancel_job(command_actor(), sent.id, force=True)
    assert ended(sent.id).state == State.CANCELLED


def test_celerys_revoke_asks_and_its_terminate_kills(stubborn_worker, running, ended, until):
    asked, killed, deaf_to_it = tasks.polite.delay(), tasks.deaf.delay(), tasks.sleeper.delay()
    waiting = tasks.sleeper.apply_async(countdown=600)
    for sent in (asked, killed, deaf_to_it):
        running(sent.id)

    for sent in (asked, waiting, deaf_to_it):
        sent.revoke()
    killed.revoke(terminate=True)

    assert [ended(sent.id).state for sent in (asked, killed, waiting)] == [State.CANCELLED] * 3
    assert "revoked through Celery" in ended(asked.id).reason
    assert JobEvent.objects.filter(job_id=deaf_to_it.id, kind="cancel_requested").get().detail["mode"] == Mode.ASKED
    time.sleep(2.5)  # longer than both graces: a revoke without terminate leaves running jobs alone
    assert running(deaf_to_it.id).attempt == 1

    deaf_to_it.revoke(terminate=True)
    assert ended(deaf_to_it.id).state == State.CANCELLED

    retry_job(command_actor(), deaf_to_it.id)
    time.sleep(2.5)  # the old request is over
    assert (running(deaf_to_it.id).attempt, running(deaf_to_it.id).cancel_requested_at) == (2, None)
    cancel_job(command_actor(), deaf_to_it.id, force=True)
    ended(deaf_to_it.id)


def test_a_cancel_that_meets_the_end_leaves_one_end(stubborn_worker, ended):
    sent = [tasks.brief.delay(0.05 * number) for number in range(24)]
    for number, one in enumerate(sent):
        time.sleep(0.03)
        with contextlib.suppress(JobNotChanged):
            cancel_job(command_actor(), one.id, force=number % 4 == 0)

    for one in sent:
        job = ended(one.id)
        assert job.state in (State.SUCCEEDED, State.CANCELLED)
        assert list(job.attempts.values_list("outcome", flat=True)) == ([job.state] if job.attempt else [])
        assert one.state == ("SUCCESS" if job.state == State.SUCCEEDED else "REVOKED")


def test_snooze_runs_again_later_uses_no_attempt_and_keeps_its_chain_open(stubborn_worker, ended, until, tmp_path):
    last = chain(tasks.snoozing.s(str(tmp_path / "there"), 1.5), tasks.one_more.s()).delay()
    long = tasks.snoozing.delay(str(tmp_path / "elsewhere"), 3600)
    first_id = last.parent.id

    waiting = until(Job.objects.filter(pk=long.id, state=State.SCHEDULED).first)
    assert waiting.attempts_used == 0
    job = ended(first_id)
    assert (job.state, job.attempts_used, job.max_attempts) == (State.SUCCEEDED, 1, 1)
    first, second = job.attempts.all()
    assert (first.outcome, first.message) == ("snoozed", "not yet")
    assert (second.started_at - first.finished_at).total_seconds() >= 1.5
    assert JobEvent.objects.filter(job_id=first_id, kind="snoozed").exists()
    assert last.get(timeout=120) == "after done"


def test_discard_ends_a_job_with_its_reason_and_stops_its_chain(stubborn_worker, ended):
    last = chain(tasks.discarding.si(), tasks.one_more.s()).delay()

    job = ended(last.parent.id)
    assert (job.state, job.reason, job.attempt) == (State.DISCARDED, "the pull request was closed", 1)
    assert job.attempts.get().outcome == "discarded"
    ended(echo.delay("after").id)
    assert not Job.objects.filter(pk=last.id).exists()
