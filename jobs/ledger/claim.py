"""A message is a hint; the claim decides whether this process runs the job."""

import uuid
from typing import Any

import psycopg

from jobs.ledger import states
from jobs.ledger.connection import claims
from jobs.ledger.limits import hold
from jobs.ledger.run import Run, run_of_row


def claim(job_id: str, task: str, worker: str, pid: int) -> tuple[Run, Any, Any, int] | None:
    """queued → running, for this process alone.

    Returns the run, its edited args and kwargs (None where the message's are right) and the attempts before an
    operator's latest retry; None if the job is not waiting to be run, in which case the message is to be dropped.
    Waits for Postgres for as long as it is away.
    """
    claim_id = str(uuid.uuid4())

    def take(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[Any, ...] | None:
        values = {"claim": claim_id, "worker": worker, "pid": pid, "id": job_id, "task": task}
        return connection.execute(states.CLAIM, values).fetchone()

    row = claims().insist(take)
    if row is None:
        claims().insist(lambda connection: _put_back(connection.cursor(), job_id, task))
        return None
    number, uncounted, crashes, max_attempts, before, args, kwargs, has_slot = row
    run = run_of_row(job_id, claim_id, task, worker, pid, number, uncounted, crashes, max_attempts)
    run.has_slot = has_slot
    return run, args, kwargs, before


# With the conditions of a claim, so that the next one is not refused for the same reason.
_OWE = """
    UPDATE jobs_job SET sent_at = NULL
    WHERE id = %s AND task || '' = %s AND state || '' = 'queued' AND NOT held AND sent_at IS NOT NULL
      AND (expires_at IS NULL OR expires_at > clock_timestamp())
"""


def _put_back(cursor: states.Cursor, job_id: str, task: str) -> None:
    """Hold a job that a limit or a pause, made after its message was sent, keeps from starting.

    If it has ended just now, the job is owed a message: the one that was claimed in vain is dropped.
    """
    if not hold(cursor, [job_id]):
        cursor.execute(_OWE, [job_id, task])
