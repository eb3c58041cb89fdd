"""What becomes of a message whose job may not start."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from jobs.ledger import claim as claims
from jobs.ledger import pauses
from jobs.ledger.connection import LedgerConnection
from jobs.ledger.connection import claims as connection_of_claims
from jobs.ledger.limits import hold
from jobs.models import Job, State
from jobs.operators.actors import command_actor
from jobs.operators.limits import pause, resume
from jobs.tests.factories import make_job
from jobs.tests.live import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    connection_of_claims().close()


def refused(job: Job) -> Job:
    """The job's row after a claim in vain."""
    assert claims.claim(job.pk, job.task, "w@h", 1) is None
    return Job.objects.get(pk=job.pk)


def sent(state: str = State.QUEUED, **fields: Any) -> Job:
    return make_job(state, sent_at=timezone.now(), **fields)


def test_a_paused_job_is_held() -> None:
    pause(command_actor(), "queue", "default")

    row = refused(sent())

    assert (row.held, row.sent_at) == (True, None)


def test_a_job_whose_pause_ends_while_it_is_claimed_in_vain_is_owed_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    pause(command_actor(), "queue", "default")

    def resume_before(cursor: Any, ids: list[str]) -> list[str]:
        resume(command_actor(), "queue", "default")
        return hold(cursor, ids)

    monkeypatch.setattr(claims, "hold", resume_before)

    row = refused(sent())

    assert (row.state, row.held, row.sent_at) == (State.QUEUED, False, None)


def test_a_row_that_somebody_holds_is_held_later_and_keeps_no_dispatcher_from_its_work() -> None:
    pause(command_actor(), "queue", "default")
    job = sent()
    pauses.note_paused(["queue:default"])
    assert pauses.turn_away(job.pk, "default", job.task)
    pauses.note_paused([])
    with closing(LedgerConnection(durable=True)) as own, psycopg.connect(database_url()) as other:
        own.use(lambda opened: opened.execute("SET lock_timeout = '100ms'"))
        other.execute("SELECT 1 FROM jobs_job WHERE id = %s FOR UPDATE", [job.pk])
        own.use(pauses.hold_turned_away)
        assert not Job.objects.get(pk=job.pk).held
        other.rollback()
        own.use(pauses.hold_turned_away)

    assert Job.objects.get(pk=job.pk).held


def test_what_another_one_runs_or_nobody_may_run_is_left_as_it_is() -> None:
    for job in (sent(State.RUNNING), sent(State.SUCCEEDED), sent(expires_at="2020-01-01T00:00Z")):
        before = Job.objects.values().get(pk=job.pk)
        refused(job)
        assert Job.objects.values().get(pk=job.pk) == before
