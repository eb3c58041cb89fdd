"""Gives the jobs of dead workers to others, and those that took too many with them to rest.

A job is taken from a worker that has been silent for a lease, has ended, or was started again; and from one that
lives but does not list it. Who has been silent itself finds nobody else silent: it may be that only it was away.
The fence keeps whoever comes back from finishing what has moved on.
"""

import logging
import time
from typing import Any

import psycopg
from celery import current_app
from celery.app.task import Context
from celery.exceptions import WorkerLostError
from django.db import close_old_connections

from jobs.ledger import states
from jobs.ledger.connection import impatient
from jobs.ledger.lease import HEARTBEAT_SECONDS, LEASE_SECONDS, seconds_left
from jobs.ledger.records import message_of
from jobs.ledger.run import Run
from jobs.ledger.states import LostRun
from jobs.ledger.sweeps import Connection, Turn
from jobs.registry import policy_of

logger = logging.getLogger(__name__)

BATCH = 200
#: A worker lists what it has heard of: a job claimed a moment before a heartbeat may be missing from it.
UNLISTED_SECONDS = 2 * HEARTBEAT_SECONDS
#: How long a sweep waits for a lock.
PATIENCE_SECONDS = 0.05
#: The fetched messages of a worker that is gone are owed again.
_FETCHED = """
    WITH gone AS (
        SELECT name, fetched FROM jobs_worker
        WHERE fetched <> '[]'::jsonb
          AND (stopped_at IS NOT NULL OR heartbeat_at < now() - make_interval(secs => %s))
        FOR UPDATE SKIP LOCKED),
    emptied AS (UPDATE jobs_worker AS w SET fetched = '[]'::jsonb FROM gone WHERE w.name = gone.name)
    SELECT f.id FROM gone, jsonb_array_elements_text(gone.fetched) AS f(id)
"""

#: (id, claim) → when this process first saw that a live worker does not list it.
_suspects: dict[tuple[str, str], float] = {}


def sweep(connection: Connection, turn: Turn) -> int:
    """Rescue what lost its worker. After an outage nothing is, until Postgres has answered for a whole lease."""
    may_judge = turn.calm.total_seconds() > LEASE_SECONDS and seconds_left() > 0
    with connection.cursor() as cursor:
        lost = states.find_lost(cursor, lease_seconds=LEASE_SECONDS, unlisted_seconds=UNLISTED_SECONDS, limit=BATCH)
        lost = [run for run in _confirmed(lost) if run.is_certain or may_judge]
        requeued = _requeue(connection, [run for run in lost if not _rests(run)])
        fetched = [row[0] for row in cursor.execute(_FETCHED, [LEASE_SECONDS]).fetchall()]
        if fetched:
            states.owe_again(cursor, fetched, "the worker that had fetched it is gone")
    for run in lost:
        if _rests(run):
            _end(run)
        elif run.id in requeued:
            logger.warning("Job %s is run again: %s", run.id, run.why)
    return len(requeued) + len(fetched)


def _requeue(connection: Connection, lost: list[LostRun]) -> list[str]:
    """Those that were queued again; none while somebody has locked the table, as to make an index.

    The finishes of runs that are over wait for that, too, and come first when they are suspected anew after it.
    """
    if not lost:
        return []
    try:
        with impatient(connection, PATIENCE_SECONDS), connection.cursor() as cursor:
            return states.requeue(cursor, [_as_input(run) for run in lost])
    except psycopg.errors.LockNotAvailable:
        _suspects.clear()
        return []


def _confirmed(lost: list[LostRun]) -> list[LostRun]:
    """Leave out runs that a live worker does not list, until that has been so for a while."""
    now = time.monotonic()
    seen = {(run.id, run.claim_id): run for run in lost}
    for key in [key for key in _suspects if key not in seen]:
        del _suspects[key]
    confirmed = []
    for key, run in seen.items():
        since = _suspects.setdefault(key, now) if run.is_unlisted else 0.0
        if now - since >= UNLISTED_SECONDS:
            confirmed.append(run)
    return confirmed


def most_crashes(task: str) -> int:
    """After how many crashes a job of the task rests among the failed."""
    return policy_of(task).max_crashes


def _rests(run: LostRun) -> bool:
    return run.is_cancel_requested or run.crashes + 1 >= most_crashes(run.task)


def _as_input(run: LostRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "claim_id": run.claim_id,
        "is_crash": True,
        "outcome": "lost",
        "kind": "rescued",
        "error": f"attempt {run.attempt} was lost: {run.why}",
        "text": f"Attempt {run.attempt} was lost: {run.why}. The job is queued again.",
    }


def _end(run: LostRun) -> None:
    """A job that was asked to stop, or that has lost its process too often, ends as if its child had told so."""
    close_old_connections()
    request = request_of(run.id)
    if request is None:
        return
    backend: Any = current_app.backend
    ended = Run(
        run.id,
        run.claim_id,
        run.attempt,
        run.attempt,
        policy_of(run.task),
        number=run.attempt,
        crashes=run.crashes,
        worker=run.worker,
        pid=run.pid or 0,
    )
    if run.is_cancel_requested:
        backend.end_cancelled(ended, run.cancel_reason or "cancelled", request, f"it was lost: {run.why}")
    else:
        backend.end_crashed(ended, WorkerLostError(f"{run.why}; crash {run.crashes + 1} of this job"), request)


def request_of(job_id: str) -> Context | None:
    """A running job's Celery request, rebuilt from its row, for processes that never saw its message."""
    from jobs.models import Job

    row = Job.objects.filter(pk=job_id).values().first()
    if row is None:
        return None
    headers, _, (args, kwargs, embed) = message_of(dict(row))
    return Context(headers, args=args, kwargs=kwargs, hostname=row["worker"], delivery_info={}, **embed)
