"""Any order of sends, runs, operators' retries and rescues against a model of who holds a key."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.ledger import states
from jobs.models import Job, Outcome, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import JobNotChanged, cancel_job, retry_job
from jobs.tests import probe_tasks as probe
from jobs.tests.test_uniqueness import claim, finish, hand_back

pytestmark = pytest.mark.django_db
WAITING = (State.SCHEDULED, State.QUEUED)
STEPS = ("send", "send", "send", "claim", "claim", "succeed", "fail", "hand back", "cancel", "retry", "elapse")


@dataclass
class Modelled:
    """A job as the model sees it. gone: it gave its key up."""

    state: str = "waiting"
    gone: bool = False
    elapsed: bool = False


@dataclass
class Model:
    """What should be. until_start, period, supersede: what the key means."""

    until_start: bool = False
    period: bool = False
    supersede: bool = False
    jobs: dict[str, Modelled] = field(default_factory=dict)

    def holder(self) -> str | None:
        held = ("waiting", "running", "succeeded") if self.period else ("waiting", "running")
        holders = [name for name, row in self.jobs.items() if not row.gone and row.state in held]
        assert len(holders) <= 1
        if holders and self.jobs[holders[0]].state == "succeeded" and self.jobs[holders[0]].elapsed:
            return None
        return holders[0] if holders else None

    def free_elapsed(self) -> None:
        for row in self.jobs.values():
            row.gone = row.gone or (row.state == "succeeded" and row.elapsed)

    def sent(self, job_id: str) -> None:
        """A send was answered with this job."""
        holder = self.holder()
        self.free_elapsed()
        if self.supersede:
            for row in self.jobs.values():
                if row.state == "waiting":
                    row.state = "discarded"
                row.gone = row.gone or row.state == "running"
        elif holder is not None:
            assert job_id == holder
            return
        assert job_id not in self.jobs
        self.jobs[job_id] = Modelled()

    def of(self, *wanted: str) -> list[str]:
        return sorted(name for name, row in self.jobs.items() if row.state in wanted)


def fail(job_id: str) -> None:
    held = Job.objects.get(pk=job_id)
    with connection.cursor() as cursor:
        assert states.end_attempt(cursor, job_id, str(held.claim_id), state=State.FAILED, outcome=Outcome.FAILED)


def take_step(model: Model, send: Any, step: str, number: int) -> None:
    """Do it in the ledger and in the model."""
    sources = {"claim": "waiting", "cancel": "waiting", "succeed": "running", "fail": "running", "hand back": "running"}
    if step == "send":
        return model.sent(send().id)
    if step == "elapse":
        Job.objects.filter(unique_until__isnull=False).update(unique_until=timezone.now() - timedelta(seconds=1))
        for row in model.jobs.values():
            row.elapsed = True
        return None
    chosen = model.of("failed", "cancelled") if step == "retry" else model.of(sources[step])
    if not chosen:
        return None
    job_id = chosen[number % len(chosen)]
    row = model.jobs[job_id]
    if step == "claim":
        Job.objects.filter(pk=job_id).update(state=State.QUEUED)
        assert claim(job_id)
        row.state, row.gone = "running", row.gone or model.until_start
    elif step == "retry":
        return retry(model, job_id)
    else:
        act = {"cancel": cancel, "succeed": finish, "fail": fail, "hand back": hand_back}[step]
        act(job_id)
        row.state = {"cancel": "cancelled", "succeed": "succeeded", "fail": "failed", "hand back": "waiting"}[step]
    return None


def cancel(job_id: str) -> None:
    cancel_job(command_actor(), job_id)


def retry(model: Model, job_id: str) -> None:
    holder = model.holder()
    if holder is not None:
        with pytest.raises(JobNotChanged, match=holder):
            retry_job(command_actor(), job_id)
        return
    retry_job(command_actor(), job_id)
    model.free_elapsed()
    model.jobs[job_id] = Modelled(elapsed=model.jobs[job_id].elapsed)


@pytest.mark.parametrize(
    ("model", "send"),
    [
        ({}, lambda: probe.unique.delay(5)),
        ({"until_start": True}, lambda: probe.unique_queued.delay("m")),
        ({"until_start": True}, lambda: probe.debounced.delay("m", 1)),
        ({"period": True}, lambda: probe.unique_period.delay("m")),
        ({"supersede": True}, lambda: probe.superseding.delay("m")),
    ],
    ids=["unfinished", "queued", "debounced", "period", "superseding"],
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), min_size=5, max_size=20))
def test_a_key_is_held_as_the_model_says_and_no_order_of_events_breaks(model, send, steps):
    Job.objects.all().delete()
    expected = Model(**model)
    for step, number in steps:
        take_step(expected, send, step, number)
        found = dict(Job.objects.values_list("pk", "state"))
        assert {k: "waiting" if v in WAITING else v for k, v in found.items()} == {
            name: row.state for name, row in expected.jobs.items()
        }
