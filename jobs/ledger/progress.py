"""What a running job tells about itself, and whether it has been asked to stop."""

import time

from jobs.ledger.connection import AWAY, claims
from jobs.ledger.errors import JobCancelled, JobMovedOn
from jobs.ledger.records import clean_text
from jobs.ledger.run import Run, current_run

STORE_EVERY_SECONDS = 0.5


def report(fraction: float, note: str = "") -> None:
    """Store how far the running job is; outside a job, nothing happens.

    Raises ValueError outside 0 to 1, JobCancelled if an operator asked the job to stop.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"progress is {fraction}; it runs from 0 to 1")
    run = current_run()
    if run is None:
        return
    now = time.monotonic()
    if fraction < 1 and now - run.progress_stored_at < STORE_EVERY_SECONDS:
        return
    run.progress_stored_at = now
    _store(run, fraction, clean_text(note)[:500])


def check_cancelled() -> None:
    """Raise JobCancelled if an operator asked the running job to stop."""
    run = current_run()
    if run is not None:
        _stop_if_asked(
            run,
            "SELECT cancel_requested_at IS NOT NULL FROM jobs_job WHERE id = %s AND claim_id = %s",
            [run.job_id, run.claim_id],
        )


def _store(run: Run, fraction: float, note: str) -> None:
    _stop_if_asked(
        run,
        """
        UPDATE jobs_job SET progress = %s, progress_note = %s WHERE id = %s AND claim_id = %s AND state = 'running'
        RETURNING cancel_requested_at IS NOT NULL
        """,
        [fraction, note, run.job_id, run.claim_id],
    )


def _stop_if_asked(run: Run, query: str, parameters: list[object]) -> None:
    try:
        row = claims().use(lambda connection: connection.execute(query, parameters).fetchone())
    except AWAY:
        return  # progress is a courtesy: the job goes on while Postgres is away
    if row is None:
        raise JobMovedOn(f"job {run.job_id} was given to another worker; what this run does counts for nothing")
    if row[0]:
        raise JobCancelled(f"job {run.job_id} was asked to stop")
