"""The state machine: the only place that changes the state of a job.

Each function is one statement on a cursor of the caller's, so that it commits with whatever belongs to it. Each says
in its WHERE which state, and which claim, it expects; a row that has moved on is left alone, and not returned.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from jobs.ledger.records import MESSAGE_COLUMNS, Record
from jobs.models import Outcome, State


class Cursor(Protocol):
    """What psycopg's cursors and Django's have in common."""

    @property
    def description(self) -> Any: ...

    def execute(self, query: Any, params: Any = None) -> Any: ...
    def fetchall(self) -> list[Any]: ...


#: Which states each event leads from and to; the statements below follow it, and a test holds them to it.
TRANSITIONS: dict[str, tuple[frozenset[State], State]] = {
    "due": (frozenset({State.SCHEDULED}), State.QUEUED),
    "claimed": (frozenset({State.QUEUED}), State.RUNNING),
    "succeeded": (frozenset({State.RUNNING}), State.SUCCEEDED),
    "failed": (frozenset({State.RUNNING, State.QUEUED}), State.FAILED),
    "rescheduled": (frozenset({State.RUNNING}), State.SCHEDULED),
    "replaced": (frozenset({State.RUNNING}), State.SCHEDULED),
    "stopped": (frozenset({State.RUNNING}), State.CANCELLED),
    "cancelled": (frozenset({State.SCHEDULED, State.QUEUED}), State.CANCELLED),
    "discarded": (frozenset({State.SCHEDULED, State.QUEUED, State.FAILED}), State.DISCARDED),
    "retried": (frozenset({State.FAILED, State.CANCELLED}), State.QUEUED),
}


def rows(cursor: Cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


_INSERT = """
    INSERT INTO jobs_job (
        id, task, args, kwargs, queue, priority, state, attempt, max_attempts, unique_key, run_at, created_at,
        expires_at, worker, progress_note, error, reason, origin, origin_detail, parent_id, root_id, group_id,
        embed, headers)
    SELECT r.id, r.task, r.args, r.kwargs, r.queue, r.priority,
           CASE WHEN t.due > t.clock THEN 'scheduled' ELSE 'queued' END,
           0, r.max_attempts, r.unique_key, GREATEST(t.due, t.clock), t.clock,
           r.expires_at, '', '', '', '', r.origin, r.origin_detail, r.parent_id, r.root_id, r.group_id,
           r.embed, r.headers
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        id text, task text, args jsonb, kwargs jsonb, queue text, priority int, max_attempts int, unique_key text,
        run_at timestamptz, delay_seconds float8, expires_at timestamptz, origin text, origin_detail text,
        parent_id text, root_id text, group_id text, embed jsonb, headers jsonb),
    -- One reading of the clock a row: read twice, "now" would lie a microsecond ahead of itself.
    LATERAL (SELECT clock_timestamp() AS clock OFFSET 0) AS c,
    LATERAL (SELECT c.clock, COALESCE(c.clock + make_interval(secs => r.delay_seconds), r.run_at, c.clock) AS due) AS t
    ON CONFLICT DO NOTHING
    RETURNING id, state
"""


def insert(cursor: Cursor, records: Sequence[Record]) -> dict[str, str]:
    """Insert what is not there yet. Returns the state of each inserted id; a missing id stood in conflict."""
    cursor.execute(_INSERT, [json.dumps([record.as_row() for record in records])])
    return dict(cursor.fetchall())


def replace_awaited(cursor: Cursor, record: Record) -> bool:
    """Give a replaced job, which waits for its replacement under its own id, the new content, and queue it."""
    cursor.execute(
        """
        UPDATE jobs_job SET task = %s, args = %s::jsonb, kwargs = %s::jsonb, embed = %s::jsonb, headers = %s::jsonb,
               queue = %s, priority = %s, max_attempts = attempt + %s, state = 'queued', run_at = clock_timestamp(),
               group_id = %s, sent_at = NULL
        WHERE id = %s AND state = 'scheduled' AND run_at = '9000-01-01T00:00Z'
        RETURNING id
        """,
        [
            record.task,
            *(json.dumps(part) for part in (record.args, record.kwargs, record.embed, record.headers)),
            record.queue,
            record.priority,
            record.max_attempts,
            record.group_id,
            record.id,
        ],
    )
    return bool(cursor.fetchall())


# By primary key, whatever the statistics say: a plan that a worker made while the table was empty would otherwise
# walk the index of states, with all the rows that were in it since the last vacuum, for every job. `|| ''` keeps the
# planner off that index and the one of tasks.
# A row's arguments are run when an operator or a retry changed them; else the message's, exactly as they were sent.
CLAIM = """
    UPDATE jobs_job
    SET state = 'running', attempt = attempt + (state = 'queued')::int, claim_id = %(claim)s, worker = %(worker)s,
        pid = %(pid)s, started_at = clock_timestamp(), progress = NULL, progress_note = '',
        sent_at = COALESCE(sent_at, clock_timestamp())
    WHERE id = %(id)s AND task || '' = %(task)s
      AND (state || '' = 'queued' AND (expires_at IS NULL OR expires_at > clock_timestamp())
           -- Ours already: the answer to this very claim was lost with its connection.
           OR state || '' = 'running' AND claim_id = %(claim)s)
    RETURNING attempt, max_attempts, COALESCE((headers->>'attempts_before')::int, 0),
              CASE WHEN headers ? 'edited' THEN args END, CASE WHEN headers ? 'edited' THEN kwargs END
"""

# The whole of a flush in one statement: the finish, the attempt and the result, all of one claim or none.
SUCCEED = """
    WITH input AS (
        SELECT * FROM jsonb_to_recordset(%s::jsonb) AS i(
            id text, claim_id uuid, keep bool, result text, meta text, content_type text, content_encoding text,
            periodic_task_name text)),
    done AS (
        UPDATE jobs_job AS j
        SET state = 'succeeded', finished_at = clock_timestamp(), claim_id = NULL, progress = 1, error = ''
        FROM input AS i
        WHERE j.id = ANY(ARRAY(SELECT id FROM input)) AND j.id = i.id AND j.claim_id = i.claim_id
          AND j.state || '' = 'running'
        RETURNING j.id, j.attempt, j.task, j.worker, j.pid, j.created_at, j.started_at, j.finished_at, i.claim_id,
                  i.keep, i.result, i.meta, i.content_type, i.content_encoding, i.periodic_task_name),
    attempts AS (
        INSERT INTO jobs_attempt (job_id, number, worker, pid, claim_id, started_at, finished_at, outcome,
                                  error_class, message, traceback)
        SELECT id, attempt, worker, pid, claim_id, started_at, finished_at, 'succeeded', '', '', '' FROM done
        ON CONFLICT DO NOTHING),
    results AS (
        INSERT INTO django_celery_results_taskresult (
            task_id, task_name, periodic_task_name, status, worker, content_type, content_encoding, result, meta,
            date_created, date_started, date_done, traceback)
        SELECT id, task, periodic_task_name, 'SUCCESS', left(worker, 100), content_type, content_encoding, result,
               meta, created_at, started_at, finished_at, NULL
        FROM done WHERE keep
        ON CONFLICT (task_id) DO UPDATE SET
            status = EXCLUDED.status, worker = EXCLUDED.worker, result = EXCLUDED.result, meta = EXCLUDED.meta,
            content_type = EXCLUDED.content_type, content_encoding = EXCLUDED.content_encoding,
            date_started = EXCLUDED.date_started, date_done = EXCLUDED.date_done, traceback = NULL)
    SELECT id FROM done
"""


def succeed(cursor: Cursor, finishes: Iterable[Mapping[str, Any]]) -> set[str]:
    """running → succeeded, with attempt and result. Returns the ids whose claim still held."""
    cursor.execute(SUCCEED, [json.dumps(list(finishes))])
    return {row[0] for row in cursor.fetchall()}


def end_attempt(
    cursor: Cursor,
    job_id: str,
    claim_id: str,
    *,
    state: State,
    outcome: Outcome,
    error: str = "",
    error_class: str = "",
    message: str = "",
    traceback: str = "",
    reason: str = "",
    delay_seconds: float | None = None,
    forever: bool = False,
    own: Record | None = None,
) -> bool:
    """End a claimed run in any way but plain success, and record the attempt.

    state scheduled waits `delay_seconds` (or until `own`'s time, or, `forever`, for its replacement). own: new
    content sent under the job's own id by Celery's retry or replace. Returns False if the claim no longer holds.
    """
    finished = state not in (State.SCHEDULED, State.QUEUED)
    cursor.execute(
        """
        WITH held AS (
            SELECT id, claim_id, attempt, worker, pid, started_at, clock_timestamp() AS ended
            FROM jobs_job WHERE id = %(id)s AND claim_id = %(claim)s AND state = 'running' FOR UPDATE),
        ended AS (
            UPDATE jobs_job AS j
            SET state = %(state)s, claim_id = NULL, sent_at = NULL, error = %(error)s,
                -- Who asked a running job to stop has been noted already.
                reason = CASE WHEN %(state)s = 'cancelled' AND j.reason <> '' THEN j.reason ELSE %(reason)s END,
                finished_at = CASE WHEN %(finished)s THEN h.ended END,
                run_at = CASE WHEN %(forever)s THEN '9000-01-01T00:00Z'
                              WHEN %(delay)s::float8 IS NOT NULL THEN h.ended + make_interval(secs => %(delay)s::float8)
                              WHEN %(run_at)s::timestamptz IS NOT NULL THEN %(run_at)s::timestamptz
                              ELSE j.run_at END,
                task = COALESCE(%(task)s, j.task), args = COALESCE(%(args)s::jsonb, j.args),
                kwargs = COALESCE(%(kwargs)s::jsonb, j.kwargs), embed = COALESCE(%(embed)s::jsonb, j.embed),
                queue = COALESCE(%(queue)s, j.queue),
                headers = j.headers || COALESCE(%(headers)s::jsonb, '{}'::jsonb),
                max_attempts = GREATEST(j.max_attempts, CASE WHEN %(finished)s THEN 0 ELSE j.attempt + 1 END)
            FROM held AS h WHERE j.id = h.id RETURNING j.id)
        INSERT INTO jobs_attempt (job_id, number, worker, pid, claim_id, started_at, finished_at, outcome, error_class,
                                  message, traceback)
        SELECT h.id, h.attempt, h.worker, h.pid, h.claim_id, h.started_at, h.ended, %(outcome)s, %(error_class)s,
               %(message)s, %(traceback)s
        FROM held AS h JOIN ended USING (id)
        RETURNING job_id
        """,
        {
            "id": job_id,
            "claim": claim_id,
            "state": state,
            "finished": finished,
            "forever": forever,
            "outcome": outcome,
            "error": error,
            "error_class": error_class[:255],
            "message": message,
            "traceback": traceback,
            "reason": reason,
            "delay": delay_seconds,
            "run_at": own.run_at if own else None,
            "task": own.task if own else None,
            "queue": own.queue if own else None,
            "args": json.dumps(own.args) if own else None,
            "kwargs": json.dumps(own.kwargs) if own else None,
            "embed": json.dumps(own.embed) if own else None,
            "headers": json.dumps({**own.headers, "edited": 1}) if own else None,
        },
    )
    return bool(cursor.fetchall())


def is_anything_owed(cursor: Cursor, grace_seconds: float) -> bool:
    """Whether a message is due or unsent: one cheap statement, which is all that an idle dispatcher asks."""
    cursor.execute(
        """
        SELECT EXISTS (SELECT 1 FROM jobs_job WHERE state = 'scheduled' AND run_at <= now())
            OR EXISTS (SELECT 1 FROM jobs_job WHERE state = 'queued' AND sent_at IS NULL
                       AND run_at <= now() - make_interval(secs => %s))
        """,
        [grace_seconds],
    )
    return bool(cursor.fetchall()[0][0])


def promote_due(cursor: Cursor, limit: int) -> list[str]:
    """scheduled → queued, where the time has come. Commit this before publishing.

    A claim sees the committed state: were the message out first, its claim would find the job still scheduled, and
    drop the message.
    """
    cursor.execute(
        """
        UPDATE jobs_job SET state = 'queued', sent_at = NULL
        WHERE id IN (SELECT id FROM jobs_job WHERE state = 'scheduled' AND run_at <= now()
                     ORDER BY run_at LIMIT %s FOR UPDATE SKIP LOCKED)
        RETURNING id
        """,
        [limit],
    )
    return [row[0] for row in cursor.fetchall()]


_OWED = f"""
    SELECT {MESSAGE_COLUMNS} FROM jobs_job
    WHERE state = 'queued' AND sent_at IS NULL
      AND (run_at <= now() - make_interval(secs => %(grace)s) OR id = ANY(%(promoted)s))
    ORDER BY priority DESC, run_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
"""  # noqa: S608  (constants only)


def lock_owed(cursor: Cursor, *, promoted: Sequence[str], limit: int, grace_seconds: float) -> list[dict[str, Any]]:
    """Lock queued rows whose message is owed: just promoted, or unsent for `grace_seconds`."""
    cursor.execute(_OWED, {"promoted": list(promoted), "limit": limit, "grace": grace_seconds})
    return rows(cursor)


def mark_sent(cursor: Cursor, sent: Sequence[tuple[str, int]]) -> None:
    """Note the sending of (id, attempt). Rows that were claimed, or have run, meanwhile stay as they are."""
    cursor.execute(
        """
        UPDATE jobs_job AS j SET sent_at = clock_timestamp()
        FROM unnest(%s::text[], %s::int[]) AS s(id, attempt)
        WHERE j.id = ANY(%s) AND j.id = s.id AND j.attempt = s.attempt AND j.state = 'queued' AND j.sent_at IS NULL
        """,
        [[job_id for job_id, _ in sent], [attempt for _, attempt in sent], [job_id for job_id, _ in sent]],
    )


def owe_again(cursor: Cursor, ids: Sequence[str]) -> None:
    """Have dispatchers send waiting jobs once more, whose messages were lost."""
    cursor.execute("UPDATE jobs_job SET sent_at = NULL WHERE id = ANY(%s) AND state = 'queued'", [list(ids)])


def discard_expired(cursor: Cursor) -> list[str]:
    """scheduled, queued → discarded, where the sender's expiry has passed."""
    cursor.execute(
        """
        UPDATE jobs_job SET state = 'discarded', finished_at = clock_timestamp(),
               reason = 'expired at ' || to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
        WHERE id IN (SELECT id FROM jobs_job WHERE state IN ('scheduled', 'queued') AND expires_at <= now()
                     LIMIT 500 FOR UPDATE SKIP LOCKED)
        RETURNING id
        """
    )
    return [row[0] for row in cursor.fetchall()]


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

    Raises IntegrityError if another unfinished job holds the unique key.
    """
    edited = args is not None or kwargs is not None
    cursor.execute(
        """
        UPDATE jobs_job
        SET state = 'queued', run_at = clock_timestamp(), finished_at = NULL, sent_at = NULL, reason = '',
            cancel_requested_at = NULL, expires_at = NULL, max_attempts = attempt + %s, unique_key = %s,
            args = COALESCE(%s::jsonb, args), kwargs = COALESCE(%s::jsonb, kwargs),
            headers = headers || jsonb_build_object('attempts_before', attempt)
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
    """scheduled, queued, failed → discarded."""
    cursor.execute(
        """
        UPDATE jobs_job SET state = 'discarded', finished_at = clock_timestamp(), reason = %s
        WHERE id = %s AND state IN ('scheduled', 'queued', 'failed') RETURNING id
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
