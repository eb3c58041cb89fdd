"""Every statement of the state machine, tried from every state."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from jobs.ledger import states
from jobs.ledger.records import Record
from jobs.models import Job, Outcome, State
from jobs.tests.factories import make_job
from jobs.unique_options import UniqueOptions

pytestmark = pytest.mark.django_db


def _claim(cursor, job: Job) -> bool:
    cursor.execute(states.CLAIM, _claim_values(job))
    return bool(cursor.fetchall())


def _succeed(cursor, job: Job) -> bool:
    row = {"id": job.pk, "claim_id": str(job.claim_id or uuid.uuid4()), "keep": False}
    return job.pk in states.succeed(cursor, [row])


def _end(state: State, **more) -> Callable:
    def end(cursor, job: Job) -> bool:
        claim = str(job.claim_id or uuid.uuid4())
        return states.end_attempt(cursor, job.pk, claim, state=state, outcome=Outcome.FAILED, **more)

    return end


def _due(cursor, job: Job) -> bool:
    Job.objects.filter(pk=job.pk, state=State.SCHEDULED).update(run_at=job.created_at)
    return states.promote_due(cursor, 10) == [job.pk]


def _requeue(cursor, job: Job) -> bool:
    run = {"id": job.pk, "claim_id": str(job.claim_id or uuid.uuid4()), "is_crash": True, "outcome": "lost"}
    return job.pk in states.requeue(cursor, [{**run, "kind": "rescued", "error": "gone", "text": "gone"}])


def _retry(cursor, job: Job) -> bool:
    return states.retry(cursor, job.pk, allowance=1, args=None, kwargs=None, unique_key=None)


def _debounce(cursor, job: Job) -> bool:
    Job.objects.filter(pk=job.pk).update(unique_key="k", debounce_by=job.created_at + timedelta(hours=1))
    newer: dict[str, Any] = {
        "id": "newer",
        "args": [2],
        "kwargs": {},
        "embed": {},
        "headers": {},
        "max_attempts": 1,
        "origin": "code",
    }
    options = UniqueOptions(debounce_seconds=60)
    record = Record(**newer, task=job.task, queue=job.queue, priority=5, unique_key="k", unique_options=options)
    return states.debounce(cursor, record) == (job.pk, False)


STATEMENTS = {
    "due": [_due],
    "debounced": [_debounce],
    "claimed": [_claim],
    "succeeded": [_succeed],
    "failed": [_end(State.FAILED), lambda cursor, job: states.fail_waiting(cursor, job.pk, "no")],
    "rescheduled": [_end(State.SCHEDULED, delay_seconds=60)],
    "replaced": [_end(State.SCHEDULED, forever=True)],
    "requeued": [_requeue, _end(State.QUEUED, is_crash=True, is_counted=False)],
    "given up": [_end(State.DISCARDED)],
    "parked": [lambda cursor, job: states.park(cursor, job.pk, "unknown", most_seconds=30)],
    "stopped": [_end(State.CANCELLED)],
    "cancelled": [lambda cursor, job: states.cancel_waiting(cursor, job.pk, "no")],
    "discarded": [lambda cursor, job: states.discard(cursor, job.pk, "no")],
    "retried": [_retry],
}


def test_every_event_has_its_statements():
    assert set(STATEMENTS) == set(states.TRANSITIONS)


@pytest.mark.parametrize("state", State.values)
@pytest.mark.parametrize("event", states.TRANSITIONS)
def test_an_event_changes_the_states_that_it_names_and_no_other(event, state):
    sources, target = states.TRANSITIONS[event]
    reached = set()
    for statement in STATEMENTS[event]:
        job = make_job(state)
        with connection.cursor() as cursor:
            changed = statement(cursor, job)
        after = Job.objects.get(pk=job.pk).state
        assert after == (target if changed else state)
        reached.add(changed)

    assert (True in reached) == (state in sources)


@pytest.mark.parametrize("finish", [_succeed, _end(State.FAILED), _end(State.SCHEDULED, delay_seconds=1)])
def test_a_claim_that_no_longer_holds_finishes_nothing(finish):
    job = make_job(State.RUNNING)
    ghost = Job.objects.get(pk=job.pk)
    ghost.claim_id = uuid.uuid4()

    with connection.cursor() as cursor:
        assert not finish(cursor, ghost)

    job.refresh_from_db()
    assert (job.state, job.attempts.count()) == (State.RUNNING, 0)


def test_a_claim_counts_the_attempt_and_keeps_the_worker():
    job = make_job()
    with connection.cursor() as cursor:
        assert _claim(cursor, job)
        assert not _claim(cursor, job)

    job.refresh_from_db()
    assert (job.attempt, job.worker, job.pid) == (1, "w@h", 7)


def _claim_values(job: Job) -> dict[str, str | int]:
    return {"claim": str(uuid.uuid4()), "worker": "w@h", "pid": 7, "id": job.pk, "task": job.task}


def test_a_claim_whose_answer_was_lost_is_given_again_to_its_owner():
    job = make_job()
    values = _claim_values(job)
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute(states.CLAIM, values)
            assert cursor.fetchone()[0] == 1


def test_a_sending_is_noted_for_the_attempt_that_was_sent():
    first, again = make_job(attempt=0), make_job(attempt=1)
    with connection.cursor() as cursor:
        states.mark_sent(cursor, [(first.pk, 0), (again.pk, 0)])

    first.refresh_from_db()
    again.refresh_from_db()
    assert first.sent_at is not None
    assert again.sent_at is None


def test_a_message_for_another_task_claims_nothing():
    job = make_job()
    job.task = "selftest.crash"
    with connection.cursor() as cursor:
        assert not _claim(cursor, job)


@pytest.mark.parametrize(
    "broken",
    [
        {"state": "lost"},
        {"state": State.SUCCEEDED, "finished_at": None},
        {"state": State.QUEUED, "claim_id": uuid.uuid4()},
        {"priority": 10},
    ],
)
def test_postgres_refuses_a_row_that_cannot_be(broken):
    with pytest.raises(IntegrityError), transaction.atomic():
        make_job(**broken)


def test_postgres_refuses_a_second_unfinished_job_of_a_key():
    make_job(State.SUCCEEDED, unique_key="k")
    make_job(State.RUNNING, unique_key="k")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_job(State.QUEUED, unique_key="k")


def test_expired_jobs_are_discarded_with_the_reason():
    expired = make_job(expires_at="2020-01-01T00:00Z")
    kept = make_job(expires_at="2090-01-01T00:00Z")

    with connection.cursor() as cursor:
        assert states.discard_expired(cursor) == [expired.pk]

    expired.refresh_from_db()
    kept.refresh_from_db()
    assert expired.reason == "expired at 2020-01-01 00:00:00 UTC"
    assert kept.state == State.QUEUED
