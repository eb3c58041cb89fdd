"""Limits over real workers: never exceeded, at once in force, fair, and nothing left behind by a crash."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import current_app
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from jobs.ledger import admission, publisher
from jobs.ledger.dispatcher import Dispatcher
from jobs.models import Attempt, AuditEntry, Job, Limit, State
from jobs.operators.actors import command_actor
from jobs.operators.limits import pause, resume, set_limits
from jobs.tasks import echo
from jobs.tests import probe_tasks as probe
from jobs.tests.live import LiveWorker, LiveWorkers, database_url
from jobs.tests.test_limits import held
from jobs.tests.test_running import row_of

pytestmark = pytest.mark.django_db(transaction=True)


def runs() -> list[tuple[Any, Any]]:
    """When each run began and ended, by Postgres' clock, in order."""
    return list(Attempt.objects.order_by("started_at").values_list("started_at", "finished_at"))


def most_at_once() -> int:
    moments = [moment for start, end in runs() for moment in ((start, 1), (end, -1))]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most


def all_done(count: int) -> Callable[[], bool]:
    return lambda: Job.objects.filter(state=State.SUCCEEDED).count() >= count


def limit(**numbers: Any) -> None:
    set_limits(command_actor(), "queue", "default", numbers)


@pytest.fixture(scope="module")
def _two_workers(shared_workers: Callable[..., LiveWorker]) -> None:
    for _ in range(2):
        shared_workers("default", concurrency=2)


@pytest.fixture
def two_workers(transactional_db: None, _two_workers: None) -> None:
    """Two real workers on the queue default, shared by this module's tests."""


@pytest.mark.long
def test_over_two_workers_no_more_run_at_once_than_may_and_keys_take_turns(
    two_workers: None, until: Callable[..., Any]
) -> None:
    limit(concurrency=2)
    with transaction.atomic():  # none begins before all are there
        flood = [probe.limited.delay(0.02, "a").id for _ in range(40)]
        others = [probe.limited.delay(0.02, "b").id for _ in range(5)]

    # The next begins when one ends: if only when somebody looks, this would take twice as long as is waited for.
    until(all_done(45))

    assert most_at_once() == 2
    began = dict(Attempt.objects.values_list("job_id", "started_at"))
    # The flood was first, and all of it would have been, had keys not taken turns.
    assert max(began[job_id] for job_id in others) < sorted(began[job_id] for job_id in flood)[25]

    # A period that lasts: of a rate, what began long ago counts for nothing, and nothing begins too soon.
    Attempt.objects.all().delete()
    limit(concurrency=None, rate=3, rate_seconds=2)
    for _ in range(8):
        echo.delay(1)
    until(all_done(53))
    starts = [start for start, _ in runs()]
    assert all((starts[n + 3] - starts[n]).total_seconds() >= 2 for n in range(len(starts) - 3))


def test_pauses_and_edits_are_in_force_at_once_and_end_in_time(
    two_workers: None, until: Callable[..., Any], ended: Callable[..., Any], tmp_path: Path
) -> None:
    actor = command_actor()
    for scope, name in (("queue", "default"), ("task", "selftest.echo"), ("everything", "")):
        pause(actor, scope, name, reason="drill")
        waiting = echo.delay(1).id
        until(Job.objects.filter(pk=waiting, held=True, state=State.QUEUED, sent_at=None).exists)
        resume(actor, scope, name)
        assert ended(waiting).state == State.SUCCEEDED

    pause(actor, "queue", "default", for_seconds=1)
    ends = AuditEntry.objects.filter(action="limit.pause").latest("pk").detail["resume_at"]
    assert ended(echo.delay(1).id).started_at >= datetime.fromisoformat(ends)

    limit(concurrency=1)
    for _ in range(8):
        probe.gated.delay(str(tmp_path / "open"))
    until(lambda: Job.objects.filter(state=State.RUNNING).count() == 1)
    limit(concurrency=4)
    until(lambda: Job.objects.filter(state=State.RUNNING).count() == 4)
    (tmp_path / "open").touch()
    until(all_done(12))


def test_messages_that_were_sent_before_a_pause_do_not_start(
    live_worker: LiveWorkers, until: Callable[..., Any], ended: Callable[..., Any]
) -> None:
    ids = [echo.apply_async([n], queue="index_lane").id for n in range(20)]
    until(lambda: not Job.objects.filter(sent_at=None).exists())
    pause(command_actor(), "queue", "index_lane")

    live_worker("index_lane")

    until(lambda: Job.objects.filter(held=True).count() == 20)
    assert not Attempt.objects.exists()
    # A copy of a message that comes late finds its job held, and another's is turned away.
    late = echo.apply_async([1], queue="index_lane").id
    until(Job.objects.filter(pk=late, held=True).exists)
    Job.objects.filter(pk=late).update(held=False, sent_at=timezone.now())
    with current_app.producer_pool.acquire(block=True) as producer:
        publisher.publish(producer, row_of(late))
    until(Job.objects.filter(pk=late, held=True).exists)
    ids.append(late)
    resume(command_actor(), "queue", "index_lane")
    assert {ended(job_id).state for job_id in ids} == {State.SUCCEEDED}


@pytest.mark.long
def test_a_killed_worker_frees_what_it_held(live_worker: LiveWorkers, until: Callable[..., Any]) -> None:
    set_limits(command_actor(), "queue", "index_lane", {"concurrency": 2})
    doomed = live_worker("index_lane", concurrency=2)
    for _ in range(2):
        probe.limited.apply_async([60.0], queue="index_lane")
    until(lambda: Job.objects.filter(state=State.RUNNING).count() == 2)
    Job.objects.filter(state=State.RUNNING).update(args=[0.1], headers={"edited": 1})
    waiting = echo.apply_async([1], queue="index_lane").id

    doomed.kill()
    live_worker("index_lane", concurrency=2)

    until(all_done(3), seconds=40)
    assert Job.objects.get(pk=waiting).attempt == 1
    # Each of the two has run twice, the second time through a slot of its own.
    assert Attempt.objects.filter(outcome="succeeded", number=2).count() == 2


def test_a_paused_flood_costs_an_idle_dispatcher_one_statement_and_now_and_then_a_look(
    transactional_db: None, broker: None
) -> None:
    pause(command_actor(), "queue", "index_lane")
    held(1, queue="index_lane")
    dispatcher = Dispatcher()
    statements = []

    class Watched(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            statements.append(str(query))
            return super().execute(query, *args, **options)

    dispatcher.connection.use(lambda c: setattr(c, "cursor_factory", Watched))
    dispatcher.tick()  # the sweeps, and one look
    Limit.objects.filter(scope="everything").update(look_at=timezone.now() + timedelta(hours=1))
    connection.cursor().execute("UPDATE jobs_sweep SET due_at = now() + interval '1 hour'")
    statements.clear()

    assert dispatcher.tick() == 0

    assert len(statements) == 1
    dispatcher.connection.close()


@pytest.mark.long
def test_a_stopped_process_does_not_keep_the_others_from_letting_through(
    transactional_db: None, until: Callable[..., Any]
) -> None:
    """Postgres ends the transaction of one that holds the lock and does nothing."""
    set_limits(command_actor(), "queue", "index_lane", {"concurrency": 1})
    publisher.drain()
    (job,) = held(1, queue="index_lane")
    with contextlib.closing(psycopg.connect(database_url())) as frozen:
        admission.admit(frozen.cursor())
        # It goes on holding the lock, as if stopped by a signal.

        def attempt() -> list[str]:
            try:
                with transaction.atomic(), connection.cursor() as cursor:
                    return admission.admit(cursor).ids
            except OperationalError:  # the lock timeout
                return []

        def is_let_through() -> bool:
            """By us, or by a dispatcher of this module's workers that was quicker."""
            return attempt() == [job.pk] or not Job.objects.get(pk=job.pk).held

        until(is_let_through, seconds=admission.HOLDER_SECONDS + 10)
