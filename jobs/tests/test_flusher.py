"""How plain successes are written in groups, whatever becomes of one of them."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection

from jobs.ledger import flusher
from jobs.ledger.connection import finishes
from jobs.ledger.flusher import drain, finish_soon
from jobs.models import Attempt, Job, State
from jobs.tests.factories import make_job
from jobs.tests.live import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_waits() -> Iterator[None]:
    finishes().use(lambda opened: opened.execute("SET lock_timeout = '200ms'"))
    yield
    drain()
    finishes().close()


def running() -> tuple[Job, dict[str, Any]]:
    """A job that runs, and how it finishes."""
    claim = str(uuid.uuid4())
    job = make_job(State.RUNNING, claim_id=claim)
    return job, {"id": job.pk, "claim_id": claim, "number": 1, "worker": "w@h", "pid": 1, "keep": False}


def succeeded(*jobs: Job) -> Callable[[], bool]:
    wanted = {job.pk for job in jobs}
    return lambda: Job.objects.filter(pk__in=wanted, state=State.SUCCEEDED).count() == len(wanted)


def test_a_finish_whose_row_is_locked_keeps_none_of_those_that_come_after_it(until: Callable[..., Any]) -> None:
    """They would be taken for lost, and run again, although they are long over."""
    (held, its_end), (next_one, next_end), (last, last_end) = running(), running(), running()
    with psycopg.connect(database_url()) as other:
        other.execute("SELECT 1 FROM jobs_job WHERE id = %s FOR UPDATE", [held.pk])
        finish_soon(its_end)
        until(someone_waits_for_a_lock)
        finish_soon(next_end)
        until(succeeded(next_one))
        finish_soon(last_end)
        until(succeeded(last))
        assert Job.objects.get(pk=held.pk).state == State.RUNNING

    until(succeeded(held))
    drain()
    assert Attempt.objects.filter(outcome="succeeded").count() == 3


def someone_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def test_a_locked_finish_of_a_group_keeps_none_of_its_neighbours(until: Callable[..., Any]) -> None:
    ends = [running() for _ in range(4)]
    with psycopg.connect(database_url()) as other:
        other.execute("SELECT 1 FROM jobs_job WHERE id = %s FOR UPDATE", [ends[1][0].pk])
        for _, end in ends:
            finish_soon(end)
        until(succeeded(*(job for number, (job, _) in enumerate(ends) if number != 1)))
    until(succeeded(*(job for job, _ in ends)))


def test_a_finish_that_goes_wrong_does_not_end_the_writing_of_others(
    until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (_, odd), (job, end) = running(), running()
    write = flusher._succeed

    def stumble(group: list[Any], lock_seconds: float | None) -> set[str]:
        if any(finish["id"] == odd["id"] for finish in group):
            raise RuntimeError("odd")
        return write(group, lock_seconds)

    monkeypatch.setattr(flusher, "_succeed", stumble)
    finish_soon(odd)
    drain()
    finish_soon(end)

    until(succeeded(job))
    assert f"The finish of job {odd['id']} could not be written" in caplog.text


def test_what_goes_wrong_takes_none_of_its_group_along(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [running() for _ in range(3)]
    odd = ends[1][0]
    write = flusher._succeed

    def stumble(group: list[Any], lock_seconds: float | None) -> set[str]:
        if any(finish["id"] == odd.pk for finish in group):
            raise RuntimeError("odd")
        return write(group, lock_seconds)

    monkeypatch.setattr(flusher, "_succeed", stumble)
    own = flusher.Flusher()
    for _, end in ends:
        own.waiting.put(end)

    own._try([end for _, end in ends], None)

    assert succeeded(ends[0][0], ends[2][0])()
    assert own.waiting.unfinished_tasks == 0
