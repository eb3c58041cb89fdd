"""The state machine against a model of it: any sequence of events leaves the row as the model says."""

import uuid
from dataclasses import dataclass

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from jobs.ledger import states
from jobs.models import Attempt, Job, Outcome, State
from jobs.tests.factories import make_job

pytestmark = pytest.mark.django_db(transaction=True)

FINISHED = {"succeeded", "failed", "cancelled", "discarded"}


@dataclass
class Model:
    """One job as it should be."""

    state: str = "queued"
    runs: int = 0
    uncounted: int = 0
    crashes: int = 0
    ended_runs: int = 0
    successes: int = 0
    is_sent: bool = False
    is_cancel_requested: bool = False
    claim: str | None = None


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        Job.objects.all().delete()  # those of earlier examples fall due, too
        self.id = make_job().pk
        self.model = Model()
        self.old_claims: list[str] = []

    def _event(self, happened: bool, expected: bool, to: str) -> bool:
        assert bool(happened) == expected, f"{to}: {happened} in {self.model}"
        if happened:
            self.model.state = to
        return bool(happened)

    def _ended(self, *, counted: bool = True, crashed: bool = False) -> None:
        self.model.ended_runs += 1
        self.model.uncounted += not counted
        self.model.crashes += crashed
        self.old_claims.append(str(self.model.claim))
        self.model.claim = None
        self.model.is_sent = False

    @rule()
    def send(self) -> None:
        with connection.cursor() as cursor:
            states.mark_sent(cursor, [(self.id, self.model.runs)])
        self.model.is_sent = self.model.is_sent or self.model.state == "queued"

    @rule()
    def lose_message(self) -> None:
        with connection.cursor() as cursor:
            states.owe_again(cursor, [self.id])
        self.model.is_sent = self.model.is_sent and self.model.state != "queued"

    @rule()
    def fall_due(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE jobs_job SET run_at = now() WHERE id = %s AND state = 'scheduled'", [self.id])
            due = states.promote_due(cursor, 10)
        if self._event(self.id in due, self.model.state == "scheduled", "queued"):
            self.model.is_sent = False

    @rule()
    def claim(self) -> None:
        claim = str(uuid.uuid4())
        values: dict[str, str | int] = {
            "claim": claim,
            "worker": "w@h",
            "pid": 1,
            "id": self.id,
            "task": "selftest.echo",
        }
        with connection.cursor() as cursor:
            cursor.execute(states.CLAIM, values)
            taken = cursor.fetchall()
        if self._event(bool(taken), self.model.state == "queued", "running"):
            self.model.runs += 1
            self.model.claim = claim
            self.model.is_sent = True

    @rule(ghost=st.booleans())
    def succeed(self, ghost: bool) -> None:
        claim = self._claim_of(ghost)
        with connection.cursor() as cursor:
            done = states.succeed(cursor, [{"id": self.id, "claim_id": claim, "keep": False}])
        if self._event(self.id in done, self.model.state == "running" and not ghost, "succeeded"):
            self._ended()
            self.model.successes += 1
            self.model.is_sent = True

    @rule(
        ghost=st.booleans(),
        end=st.sampled_from(
            [
                (State.FAILED, Outcome.FAILED, False, True),
                (State.SCHEDULED, Outcome.FAILED, False, True),
                (State.SCHEDULED, Outcome.SNOOZED, False, False),
                (State.QUEUED, Outcome.CRASHED, True, False),
                (State.CANCELLED, Outcome.CANCELLED, False, True),
                (State.DISCARDED, Outcome.DISCARDED, False, True),
            ]
        ),
    )
    def end(self, ghost: bool, end: tuple[State, Outcome, bool, bool]) -> None:
        state, outcome, is_crash, is_counted = end
        with connection.cursor() as cursor:
            done = states.end_attempt(
                cursor, self.id, self._claim_of(ghost), state=state, outcome=outcome, delay_seconds=60.0,
                is_crash=is_crash, is_counted=is_counted,
            )  # fmt: skip
        if self._event(done, self.model.state == "running" and not ghost, str(state)):
            self._ended(counted=is_counted, crashed=is_crash)

    @rule(ghost=st.booleans(), is_crash=st.booleans())
    def rescue(self, ghost: bool, is_crash: bool) -> None:
        run = {"id": self.id, "claim_id": self._claim_of(ghost), "is_crash": is_crash, "outcome": "lost"}
        with connection.cursor() as cursor:
            done = states.requeue(cursor, [{**run, "kind": "rescued", "error": "", "text": "gone"}])
        # A job that was asked to stop is not run again: its rescue ends it.
        expected = self.model.state == "running" and not ghost and not self.model.is_cancel_requested
        if self._event(self.id in done, expected, "queued"):
            self._ended(counted=False, crashed=is_crash)

    @rule()
    def park(self) -> None:
        with connection.cursor() as cursor:
            done = states.park(cursor, self.id, "unknown", most_seconds=30)
        if self._event(done, self.model.state == "queued", "scheduled"):
            self.model.is_sent = False

    @rule()
    def cancel(self) -> None:
        with connection.cursor() as cursor:
            waiting = states.cancel_waiting(cursor, self.id, "no")
            asked = states.request_cancel(cursor, self.id, "no")
        assert asked == (self.model.state == "running")
        self.model.is_cancel_requested = self.model.is_cancel_requested or asked
        self._event(waiting, self.model.state in ("scheduled", "queued"), "cancelled")

    @rule()
    def discard(self) -> None:
        with connection.cursor() as cursor:
            done = states.discard(cursor, self.id, "no")
        self._event(done, self.model.state in ("scheduled", "queued", "failed", "cancelled"), "discarded")

    @rule()
    def retry(self) -> None:
        with connection.cursor() as cursor:
            done = states.retry(cursor, self.id, allowance=2, args=None, kwargs=None, unique_key=None)
        if self._event(done, self.model.state in ("failed", "cancelled"), "queued"):
            self.model.crashes = 0
            self.model.is_sent = False
            self.model.is_cancel_requested = False

    def _claim_of(self, ghost: bool) -> str:
        """The claim that holds, or one that does not."""
        if ghost or self.model.claim is None:
            return self.old_claims[-1] if self.old_claims else str(uuid.uuid4())
        return self.model.claim

    @invariant()
    def the_row_is_as_the_model_says(self) -> None:
        job, model = Job.objects.get(pk=self.id), self.model
        assert (job.state, job.attempt, job.uncounted, job.crashes) == (
            model.state,
            model.runs,
            model.uncounted,
            model.crashes,
        )
        assert (str(job.claim_id) if job.claim_id else None) == model.claim
        assert Attempt.objects.filter(job_id=self.id).count() == model.ended_runs
        assert model.successes <= 1
        assert (job.finished_at is not None) == (model.state in FINISHED)

    @invariant()
    def somebody_owes_what_is_not_finished(self) -> None:
        job = Job.objects.get(pk=self.id)
        if job.state == "queued":
            assert (job.sent_at is not None) == self.model.is_sent
        if job.state == "running":
            assert job.worker
        if job.state == "scheduled":
            assert job.run_at is not None


@pytest.mark.timeout(300)
def test_any_sequence_of_events_leaves_the_row_as_the_model_says():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
