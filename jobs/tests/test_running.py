"""How runs end on a real worker: retried, failed, timed out, crashed, cancelled, once."""

import json

import pytest
from celery import chain, chord, current_app
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils import timezone
from django_celery_results.models import TaskResult

from jobs.ledger.publisher import publish
from jobs.ledger.records import MESSAGE_COLUMNS
from jobs.models import Job, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import cancel_job, retry_job
from jobs.tasks import echo, fail, sleep
from jobs.tests import probe_tasks as probe

pytestmark = pytest.mark.django_db(transaction=True)


def row_of(job_id: str) -> dict:
    """A job's row as dispatchers read it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {MESSAGE_COLUMNS} FROM jobs_job WHERE id = %s", [job_id])
        row = dict(zip([c.name for c in cursor.description], cursor.fetchone(), strict=True))
    return {key: json.loads(v) if key in ("args", "kwargs", "embed", "headers") else v for key, v in row.items()}


def make_due(job_id: str) -> None:
    """Have a scheduled job's time come."""
    assert Job.objects.filter(pk=job_id, state=State.SCHEDULED).update(run_at=timezone.now())


def test_a_task_without_a_policy_fails_at_its_first_error(worker, ended):
    job = ended(probe.boom.delay().id)

    assert (job.state, job.attempt, job.error) == (State.FAILED, 1, "ValueError: boom")
    attempt = job.attempts.get()
    assert (attempt.outcome, attempt.error_class, attempt.message) == ("failed", "builtins.ValueError", "boom")
    assert "def boom" not in attempt.traceback
    assert 'raise ValueError("boom")' in attempt.traceback
    assert "celery/app/trace.py" not in attempt.traceback


def test_a_policy_retries_until_its_attempts_are_used_up(worker, ended):
    job = ended(probe.policy.delay().id)

    assert (job.state, job.attempt, job.max_attempts) == (State.FAILED, 3, 3)
    assert [a.number for a in job.attempts.all()] == [1, 2, 3]
    assert current_app.AsyncResult(job.pk).state == "FAILURE"


def test_a_retry_waits_in_postgres_for_its_delay(worker, ended, until):
    sent = fail.delay("later", times=1, backoff_seconds=600)

    waiting = until(Job.objects.filter(pk=sent.id, state=State.SCHEDULED, attempt=1).first)
    assert waiting.error == "RuntimeError: later"
    assert (waiting.run_at - waiting.attempts.get().finished_at).total_seconds() >= 600
    make_due(sent.id)
    assert [attempt.outcome for attempt in ended(sent.id).attempts.all()] == ["failed", "succeeded"]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (probe.soft, "SoftTimeLimitExceeded: the job ran longer than its soft time limit"),
        (probe.hard, "hard time limit of 2 s"),
        (probe.reject, "rejected: unfit"),
        (probe.not_json, "not JSON serializable"),
    ],
    ids=["soft limit", "hard limit", "reject", "result"],
)
def test_a_failure_says_what_happened_and_the_worker_lives(worker, ended, task, said):
    job = ended(task.delay().id)

    assert job.state == State.FAILED
    assert said in job.error
    assert job.attempts.get().outcome == "failed"
    assert ended(echo.delay(1).id).state == State.SUCCEEDED
    assert worker.process.poll() is None


def test_text_that_postgres_cannot_hold_ends_a_job_all_the_same(worker, ended):
    assert ended(probe.odd_error.delay().id).error == "ValueError: caf?.py"

    job = ended(probe.odd_result.delay().id)
    assert (job.state, job.progress_note) == (State.SUCCEEDED, "caf?.py")
    assert current_app.AsyncResult(job.pk).result == "caf?.py"


def test_ignore_ends_succeeded(worker, ended):
    assert ended(probe.ignore.delay().id).state == State.SUCCEEDED


def test_an_unknown_task_is_parked_for_a_worker_that_knows_it(worker, until):
    sent = current_app.send_task("no.such.task", ())

    job = until(Job.objects.filter(pk=sent.id, headers__parked__gte=2).first)
    assert job.attempt == 0
    assert "no.such.task" in job.error
    assert [event.kind for event in job.events.all()] == ["parked"]


def test_the_same_message_twice_runs_once(worker, ended):
    sent = sleep.delay(0.5)
    row = row_of(sent.id)
    with current_app.producer_pool.acquire(block=True) as producer:
        for _ in range(5):
            publish(producer, row)

    job = ended(sent.id)
    assert ended(echo.delay("after").id).state == State.SUCCEEDED
    assert (job.attempt, job.attempts.count()) == (1, 1)


@pytest.mark.long
def test_two_workers_given_the_same_message_run_it_once(live_worker, ended, until, tmp_path):
    # On a queue that the module's own worker does not serve.
    live_worker("index_lane", concurrency=1)
    live_worker("index_lane", concurrency=1)
    gate = tmp_path / "open"
    sent = [probe.gated.apply_async((str(gate),), queue="index_lane") for _ in range(10)]
    rows = [row_of(s.id) for s in sent]
    with current_app.producer_pool.acquire(block=True) as producer:
        for row in rows * 3:
            publish(producer, row)
    until(lambda: Job.objects.filter(state=State.RUNNING).count() == 2)  # one on each
    gate.touch()

    jobs = [ended(s.id) for s in sent]
    assert {job.attempt for job in jobs} == {1}
    assert len({job.worker for job in jobs}) == 2


def test_a_run_that_lost_its_claim_finishes_nothing_and_sends_nothing_on(worker, ended, until):
    last = chain(probe.ghost.si(), probe.add.si(1, 1)).delay()
    until(Job.objects.filter(task="probe.ghost", state=State.RUNNING).exists)

    job = Job.objects.get(task="probe.ghost")
    until(job.attempts.exists)
    job.refresh_from_db()
    assert (job.state, [attempt.outcome for attempt in job.attempts.all()]) == (State.RUNNING, ["superseded"])
    assert not Job.objects.filter(pk=last.id).exists()


def test_a_retry_sent_inside_a_rolled_back_transaction_still_happens(worker, ended):
    sent = probe.retry_inside_transaction.delay()

    job = ended(sent.id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    assert not Job.objects.filter(task="probe.add").exists()


def test_a_message_whose_row_is_gone_is_dropped(worker, ended):
    sent = sleep.apply_async((0,), countdown=3600)
    row = row_of(sent.id)
    Job.objects.all().delete()
    with current_app.producer_pool.acquire(block=True) as producer:
        publish(producer, row)

    ended(echo.delay(1).id)
    assert not Job.objects.filter(pk=sent.id).exists()


def test_progress_is_seen_while_the_job_runs(worker, ended, until):
    sent = sleep.delay(150, steps=600)

    seen = until(Job.objects.filter(pk=sent.id, progress__gt=0, progress__lt=1).first)
    assert seen.progress_note.endswith("of 600")
    cancel_job(command_actor(), sent.id)
    assert ended(sent.id).state == State.CANCELLED
    assert ended(sleep.delay(0).id).progress == 1


def test_cancelling_a_running_job_stops_it_at_its_next_report(worker, ended, until):
    sent = probe.long.delay(60)
    until(Job.objects.filter(pk=sent.id, state=State.RUNNING).exists)

    cancel_job(command_actor(), sent.id)

    job = ended(sent.id)
    assert job.state == State.CANCELLED
    assert job.reason.startswith("cancelled by ")
    assert job.attempts.get().outcome == "cancelled"


def test_celerys_own_revoke_cancels(worker, ended, until):
    sent = probe.long.delay(60)
    until(Job.objects.filter(pk=sent.id, state=State.RUNNING).exists)

    current_app.control.revoke(sent.id, terminate=True)

    assert ended(sent.id).state == State.CANCELLED


def test_an_expired_job_is_discarded_unrun(worker, ended):
    sent = probe.add.apply_async((1, 1), countdown=1.5, expires=0.5)

    job = ended(sent.id)
    assert (job.state, job.attempt) == (State.DISCARDED, 0)
    assert job.reason.startswith("expired at ")


def test_a_unique_key_folds_while_a_job_is_unfinished(worker, ended):
    first = probe.unique.apply_async((5,), countdown=600)
    second = probe.unique.delay(5)
    third = current_app.send_task("probe.unique", (5,))
    other = probe.unique.delay(6)

    assert (second.id, second.folded, third.id) == (first.id, True, first.id)
    assert other.id != first.id
    assert first.folded is False
    make_due(first.id)
    ended(first.id)
    assert probe.unique.delay(5).id != first.id


def test_steps_of_a_workflow_are_not_folded(worker, ended):
    body = chord([probe.add.s(1, 1), probe.unique.s(5), probe.unique.s(5)], probe.total.s()).delay()
    assert body.get(timeout=80) == 12

    holder = probe.unique.apply_async((6,), countdown=60)
    last = chain(probe.add.si(1, 1), probe.unique.si(6), probe.unique.si(6)).delay()
    assert last.get(timeout=80) == 6
    assert Job.objects.get(pk=holder.id).state == State.SCHEDULED


def test_an_operators_retry_runs_the_same_row_with_edited_arguments(worker, ended):
    sent = fail.delay("four", times=4)
    job = ended(sent.id)
    assert (job.state, job.attempt) == (State.FAILED, 4)

    retry_job(command_actor(), sent.id, kwargs={"times": 1})

    job = ended(sent.id)
    assert (job.state, job.attempt, job.kwargs) == (State.SUCCEEDED, 5, {"times": 1})
    assert current_app.AsyncResult(sent.id).result == "succeeded at attempt 5"


@pytest.mark.long
def test_a_recycled_child_loses_no_finish(live_worker, ended):
    live_worker("default", concurrency=1, options=["--max-tasks-per-child=1"])
    sent = [echo.delay(n) for n in range(5)]

    jobs = [ended(s.id) for s in sent]
    assert {(job.state, job.error) for job in jobs} == {(State.SUCCEEDED, "")}
    assert len({job.pid for job in jobs}) > 1


@pytest.mark.long
@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_other_pools_run_jobs_too(live_worker, ended, pool):
    live_worker("default", pool=pool)

    assert ended(echo.delay(1).id).state == State.SUCCEEDED
    assert ended(fail.delay("x", times=1).id).attempt == 2


def test_ignored_results_change_states_all_the_same(worker, ended):
    done = echo.apply_async((1,), ignore_result=True)
    failed = probe.policy.apply_async(ignore_result=True)

    assert ended(done.id).state == State.SUCCEEDED
    assert (ended(failed.id).state, ended(failed.id).attempt) == (State.FAILED, 3)
    assert not TaskResult.objects.exists()


def test_eager_mode_is_refused_outside_tests(settings):
    settings.TESTING = False
    current_app.conf.task_always_eager = True
    try:
        with pytest.raises(ImproperlyConfigured, match="bypasses the ledger"):
            echo.delay(1)
    finally:
        current_app.conf.task_always_eager = False


def test_a_warm_stop_drains_the_running_job(live_worker, until):
    worker = live_worker("default", concurrency=1)
    sent = sleep.delay(2)
    until(Job.objects.filter(pk=sent.id, state=State.RUNNING).exists)

    assert worker.stop() == 0

    assert Job.objects.get(pk=sent.id).state == State.SUCCEEDED
    assert worker.log_path.exists()
