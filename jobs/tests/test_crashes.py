"""What becomes of jobs that take their process with them, and of those that end on a task's own word."""

import pytest

from jobs.models import Job, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import retry_job
from jobs.tasks import crash, sleep
from jobs.tests import probe_tasks as probe

pytestmark = pytest.mark.django_db(transaction=True)


def outcomes(job: Job) -> list[str]:
    return [attempt.outcome for attempt in job.attempts.all()]


def kinds(job: Job) -> list[str]:
    return [event.kind for event in job.events.all()]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(lambda: probe.die.delay("exit"), "exitcode 3", marks=pytest.mark.long),
        pytest.param(lambda: probe.die.delay("segfault"), "SIGSEGV", marks=pytest.mark.long),
        (lambda: crash.delay(signal=9), "SIGKILL"),
        (probe.memory.delay, "OutOfMemory"),
        (probe.leave.delay, "sys.exit(3)"),
    ],
    ids=["exit", "segfault", "killed", "memory", "sys.exit"],
)
def test_a_job_that_kills_its_process_rests_after_three_crashes_and_its_neighbours_finish(worker, ended, sent, said):
    neighbours = [sleep.delay(0.3) for _ in range(4)]

    job = ended(sent().id)

    assert (job.state, job.crashes, outcomes(job)) == (State.FAILED, 3, ["crashed"] * 3)
    assert (job.attempts_used, kinds(job)) == (0, ["rescued", "rescued"])
    assert said in job.error
    assert {ended(neighbour.id).state for neighbour in neighbours} == {State.SUCCEEDED}
    assert worker.process.poll() is None


def test_a_task_that_allows_one_attempt_is_not_run_again_after_a_crash(worker, ended):
    job = ended(probe.die_at_most_once.delay().id)

    assert (job.state, outcomes(job)) == (State.FAILED, ["crashed"])


def test_an_operators_retry_of_a_crashed_job_allows_three_crashes_again(worker, ended):
    job = ended(crash.delay().id)
    retry_job(command_actor(), job.pk)

    job = ended(job.pk)
    assert (job.state, job.crashes, job.attempt) == (State.FAILED, 3, 6)


def test_snooze_and_discard_use_no_attempt_and_say_why(worker, ended):
    woken, discarded = ended(probe.snooze.delay(0.5).id), ended(probe.discard.delay("closed").id)

    assert (woken.state, woken.attempts_used, outcomes(woken)) == (State.SUCCEEDED, 1, ["snoozed", "succeeded"])
    assert (discarded.state, discarded.reason, outcomes(discarded)) == (State.DISCARDED, "closed", ["discarded"])
