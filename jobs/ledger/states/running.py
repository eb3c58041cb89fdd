"""A run's beginning and its end, under the fence of its claim."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.ledger.limits import blocked
from jobs.ledger.records import Record
from jobs.ledger.states.machine import Cursor
from jobs.models import Outcome, State

# By primary key, whatever the statistics say: a plan that a worker made while the table was empty would otherwise
# walk the index of states, with all the rows that were in it since the last vacuum, for every job. `|| ''` keeps the
# planner off that index and the one of tasks.
# A row's arguments are run when an operator or a retry changed them; else the message's, exactly as they were sent.
# A message may be older than a limit or a pause, so the claim asks for both.
CLAIM = f"""
    UPDATE jobs_job
    SET state = 'running', attempt = attempt + (state = 'queued')::int, claim_id = %(claim)s, worker = %(worker)s,
        pid = %(pid)s, started_at = clock_timestamp(), progress = NULL, progress_note = '',
        sent_at = COALESCE(sent_at, clock_timestamp()), key_released = key_released OR unique_until_start
    WHERE id = %(id)s AND task || '' = %(task)s
      AND (state || '' = 'queued' AND NOT held AND NOT {blocked("jobs_job")}
           AND (expires_at IS NULL OR expires_at > clock_timestamp())
           -- Ours already: the answer to this very claim was lost with its connection.
           OR state || '' = 'running' AND claim_id = %(claim)s)
    RETURNING attempt, uncounted, crashes, max_attempts, COALESCE((headers->>'attempts_before')::int, 0),
              CASE WHEN headers ? 'edited' THEN args END, CASE WHEN headers ? 'edited' THEN kwargs END,
              EXISTS (SELECT 1 FROM jobs_slot AS s WHERE s.job_id = jobs_job.id AND NOT s.ended)
"""  # noqa: S608  (constants only)

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
    # In the order in which a sender who supersedes locks the jobs of a key.
    ordered = sorted(finishes, key=lambda finish: str(finish["id"]))
    cursor.execute(SUCCEED, [json.dumps(ordered)])
    return {row[0] for row in cursor.fetchall()}


_END_ATTEMPT = """
    WITH held AS (
        SELECT id, claim_id, attempt, worker, pid, started_at, clock_timestamp() AS ended
        FROM jobs_job WHERE id = %(id)s AND claim_id = %(claim)s AND state = 'running' FOR UPDATE),
    ended AS (
        UPDATE jobs_job AS j
        SET state = %(state)s::text, claim_id = NULL, sent_at = NULL, sends = 0, held = false,
            error = %(error)s::text,
            crashes = j.crashes + %(crashes)s::int, uncounted = j.uncounted + %(uncounted)s::int,
            -- Who asked a running job to stop has been noted already; what made it stop is added.
            reason = CASE WHEN %(state)s::text = 'cancelled'
                          THEN concat_ws('; ', COALESCE(NULLIF(j.reason, ''), %(reason)s), NULLIF(%(message)s, ''))
                          ELSE %(reason)s::text END,
            finished_at = CASE WHEN %(finished)s::bool THEN h.ended END,
            run_at = CASE WHEN %(forever)s::bool THEN '9000-01-01T00:00Z'
                          WHEN %(delay)s::float8 IS NOT NULL THEN h.ended + make_interval(secs => %(delay)s::float8)
                          WHEN %(run_at)s::timestamptz IS NOT NULL THEN %(run_at)s::timestamptz
                          ELSE j.run_at END,
            task = COALESCE(%(task)s::text, j.task), args = COALESCE(%(args)s::jsonb, j.args),
            kwargs = COALESCE(%(kwargs)s::jsonb, j.kwargs), embed = COALESCE(%(embed)s::jsonb, j.embed),
            queue = COALESCE(%(queue)s::text, j.queue),
            headers = j.headers || COALESCE(%(headers)s::jsonb, '{}'::jsonb),
            max_attempts = GREATEST(j.max_attempts, CASE WHEN %(finished)s::bool THEN 0
                                                         ELSE j.attempt - j.uncounted - %(uncounted)s::int + 1 END)
        FROM held AS h WHERE j.id = h.id RETURNING j.id)
    INSERT INTO jobs_attempt (job_id, number, worker, pid, claim_id, started_at, finished_at, outcome, error_class,
                              message, traceback)
    SELECT h.id, h.attempt, h.worker, h.pid, h.claim_id, h.started_at, h.ended, %(outcome)s, %(error_class)s,
           %(message)s, %(traceback)s
    FROM held AS h JOIN ended USING (id)
    RETURNING job_id
"""


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
    is_crash: bool = False,
    is_counted: bool = True,
) -> bool:
    """End a claimed run in any way but plain success, and record the attempt.

    state scheduled waits `delay_seconds` (or until `own`'s time, or, `forever`, for its replacement). own: new
    content sent under the job's own id by Celery's retry or replace. is_crash: the run took its process with it.
    is_counted: whether it uses up an attempt. Returns False if the claim no longer holds.
    """
    finished = state not in (State.SCHEDULED, State.QUEUED)
    cursor.execute(
        _END_ATTEMPT,
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
            "crashes": int(is_crash),
            "uncounted": int(not is_counted),
            "delay": delay_seconds,
            **_content(own),
        },
    )
    return bool(cursor.fetchall())


def _content(own: Record | None) -> dict[str, Any]:
    """What replaces the row's content; None keeps a column as it is."""
    if own is None:
        return dict.fromkeys(("run_at", "task", "queue", "args", "kwargs", "embed", "headers"))
    return {
        "run_at": own.run_at,
        "task": own.task,
        "queue": own.queue,
        "args": json.dumps(own.args),
        "kwargs": json.dumps(own.kwargs),
        "embed": json.dumps(own.embed),
        "headers": json.dumps({**own.headers, "edited": 1}),
    }


_SUPERSEDED = """
    WITH gone AS (
        INSERT INTO jobs_attempt (job_id, number, worker, pid, claim_id, started_at, finished_at, outcome,
                                  error_class, message, traceback)
        SELECT id, %(number)s, %(worker)s, %(pid)s, %(claim)s, clock_timestamp(), clock_timestamp(), 'superseded', '',
               %(message)s, %(traceback)s
        FROM jobs_job WHERE id = %(id)s
        ON CONFLICT (job_id, number, claim_id) DO UPDATE
        SET outcome = 'superseded', message = EXCLUDED.message, finished_at = EXCLUDED.finished_at,
            traceback = CASE WHEN EXCLUDED.traceback = '' THEN jobs_attempt.traceback ELSE EXCLUDED.traceback END
        -- Ended by this very claim before: the answer to that finish was lost, and nothing is superseded.
        WHERE jobs_attempt.outcome IN ('lost', 'handed_back', 'superseded')
        RETURNING job_id)
    INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
    SELECT job_id, clock_timestamp(), 'superseded', %(message)s,
           jsonb_build_object('attempt', %(number)s::int, 'worker', %(worker)s::text)
    FROM gone
    RETURNING job_id
"""


def keep_superseded(
    cursor: Cursor, *, job_id: str, claim_id: str, number: int, worker: str, pid: int, message: str, traceback: str = ""
) -> bool:
    """Record what a run did that came back after its job had moved on. Returns False if there is nothing to record."""
    cursor.execute(
        _SUPERSEDED,
        {
            "id": job_id,
            "claim": claim_id,
            "number": number,
            "worker": worker,
            "pid": pid,
            "message": message,
            "traceback": traceback,
        },
    )
    return bool(cursor.fetchall())
