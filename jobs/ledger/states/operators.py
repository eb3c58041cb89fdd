"""What a person does to a job."""

import json
from typing import Any

from jobs.ledger.states.machine import Cursor


def retry(
    cursor: Cursor,
    job_id: str,
    *,
    allowance: int,
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    unique_key: str | None,
) -> bool:
    """failed, cancelled → queued, with `allowance` further attempts, and other arguments if given.

    Raises IntegrityError if another job holds the unique key. A key that was given up is held again.
    """
    edited = args is not None or kwargs is not None
    cursor.execute(
        """
        UPDATE jobs_job
        SET state = 'queued', run_at = clock_timestamp(), finished_at = NULL, sent_at = NULL, reason = '',
            cancel_requested_at = NULL, expires_at = NULL, max_attempts = attempt - uncounted + %s,
            crashes = 0, sends = 0, held = false, unique_key = %s, key_released = false,
            args = COALESCE(%s::jsonb, args), kwargs = COALESCE(%s::jsonb, kwargs),
            headers = headers || jsonb_build_object('attempts_before', attempt - uncounted)
                      || CASE WHEN %s THEN '{"edited": 1}'::jsonb ELSE '{}'::jsonb END
        WHERE id = %s AND state IN ('failed', 'cancelled')
        RETURNING id
        """,
        [
            allowance,
            unique_key,
            json.dumps(args) if args is not None else None,
            json.dumps(kwargs) if kwargs is not None else None,
            edited,
            job_id,
        ],
    )
    return bool(cursor.fetchall())


def cancel_waiting(cursor: Cursor, job_id: str, reason: str) -> bool:
    """scheduled, queued → cancelled."""
    cursor.execute(
        """
        UPDATE jobs_job SET state = 'cancelled', finished_at = clock_timestamp(), reason = %s
        WHERE id = %s AND state IN ('scheduled', 'queued') RETURNING id
        """,
        [reason, job_id],
    )
    return bool(cursor.fetchall())


def request_cancel(cursor: Cursor, job_id: str, reason: str) -> bool:
    """Ask a running job to stop; its state changes when it does. Asking again keeps the first request's time."""
    cursor.execute(
        """
        UPDATE jobs_job SET cancel_requested_at = COALESCE(cancel_requested_at, clock_timestamp()), reason = %s
        WHERE id = %s AND state = 'running' RETURNING id
        """,
        [reason, job_id],
    )
    return bool(cursor.fetchall())


def discard(cursor: Cursor, job_id: str, reason: str) -> bool:
    """scheduled, queued, failed, cancelled → discarded."""
    cursor.execute(
        """
        UPDATE jobs_job SET state = 'discarded', finished_at = clock_timestamp(), reason = %s
        WHERE id = %s AND state IN ('scheduled', 'queued', 'failed', 'cancelled') RETURNING id
        """,
        [reason, job_id],
    )
    return bool(cursor.fetchall())


def fail_waiting(cursor: Cursor, job_id: str, error: str) -> bool:
    """queued → failed, without a run: no worker knows its task."""
    cursor.execute(
        """
        UPDATE jobs_job SET state = 'failed', finished_at = clock_timestamp(), error = %s
        WHERE id = %s AND state = 'queued' RETURNING id
        """,
        [error, job_id],
    )
    return bool(cursor.fetchall())
