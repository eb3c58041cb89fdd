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
        # Perhaps a limit or a pause, made after the message was sent, holds it back.
        claims().insist(lambda connection: hold(connection.cursor(), [job_id]))
        return None
    number, uncounted, crashes, max_attempts, before, args, kwargs, has_slot = row
    run = run_of_row(job_id, claim_id, task, worker, pid, number, uncounted, crashes, max_attempts)
    run.has_slot = has_slot
    return run, args, kwargs, before
