"""Jobs that lost their worker, and messages that lost their way."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.lanes import QUEUES
from jobs.ledger.states.machine import Cursor, rows


@dataclass(frozen=True)
class LostRun:
    """A running row that nobody runs any more. why: what was noticed."""

    id: str
    claim_id: str
    task: str
    queue: str
    worker: str
    pid: int | None
    attempt: int
    crashes: int
    is_cancel_requested: bool
    cancel_reason: str
    why: str
    is_certain: bool
    is_unlisted: bool


# Each queue by name, because the index of unfinished rows begins with it. A claim is a sign of life, like a heartbeat:
# a worker that was frozen, or cut off, claims its next job perhaps a moment before it reports again. A row that is held
# is passed over: its run may be over, and its finish be waiting for whoever holds it.
_LOST = """
    SELECT j.id, j.claim_id::text, j.task, j.queue, j.worker, j.pid, j.attempt, j.crashes,
           j.cancel_requested_at IS NOT NULL AS is_cancel_requested, j.reason AS cancel_reason,
           CASE WHEN w.name IS NULL THEN 'its worker ' || j.worker || ' is not known any more'
                WHEN w.stopped_at >= j.started_at THEN 'its worker ' || j.worker || ' has ended'
                WHEN w.started_at > j.started_at THEN 'its worker ' || j.worker || ' was started again'
                WHEN GREATEST(w.heartbeat_at, j.started_at) < now() - make_interval(secs => %(lease)s)
                THEN 'its worker ' || j.worker || ' has been silent for '
                     || round(extract(epoch FROM now() - w.heartbeat_at)) || ' s'
                ELSE 'its worker ' || j.worker || ' does not list it as running' END AS why,
           COALESCE(w.started_at > j.started_at OR w.stopped_at >= j.started_at, false) AS is_certain,
           COALESCE(w.started_at <= j.started_at AND w.stopped_at IS NULL
                    AND w.heartbeat_at >= now() - make_interval(secs => %(lease)s), false) AS is_unlisted
    FROM jobs_job AS j LEFT JOIN jobs_worker AS w ON w.name = j.worker
    WHERE j.queue = ANY(%(queues)s) AND j.state = 'running' AND (
        (w.name IS NULL AND j.started_at < now() - make_interval(secs => %(lease)s))
        OR w.stopped_at >= j.started_at
        OR w.started_at > j.started_at
        OR GREATEST(w.heartbeat_at, j.started_at) < now() - make_interval(secs => %(lease)s)
        OR (w.heartbeat_at > j.started_at + make_interval(secs => %(unlisted)s)
            AND NOT w.running ? j.id AND NOT w.fetched ? j.id))
    ORDER BY j.started_at LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
"""


def find_lost(cursor: Cursor, *, lease_seconds: float, unlisted_seconds: float, limit: int) -> list[LostRun]:
    """Running rows, held by nobody, whose worker is silent, gone or another process, or does not list them."""
    cursor.execute(
        _LOST,
        {"lease": lease_seconds, "unlisted": unlisted_seconds, "limit": limit, "queues": list(QUEUES)},
    )
    return [LostRun(**row) for row in rows(cursor)]


_REQUEUE = """
    WITH input AS (
        SELECT * FROM jsonb_to_recordset(%s::jsonb) AS i(
            id text, claim_id uuid, is_crash bool, outcome text, kind text, error text, text text)),
    held AS (
        SELECT j.id, j.claim_id, j.attempt, j.worker, j.pid, j.started_at,
               i.is_crash, i.outcome, i.kind, i.error, i.text
        FROM jobs_job AS j JOIN input AS i ON j.id = i.id AND j.claim_id = i.claim_id
        -- One that was asked to stop is cancelled instead.
        WHERE j.state || '' = 'running' AND j.cancel_requested_at IS NULL FOR UPDATE OF j SKIP LOCKED),
    moved AS (
        UPDATE jobs_job AS j
        SET state = 'queued', claim_id = NULL, sent_at = NULL, sends = 0, held = false,
            crashes = j.crashes + h.is_crash::int, uncounted = j.uncounted + 1,
            error = CASE WHEN h.is_crash THEN h.error ELSE j.error END
        FROM held AS h WHERE j.id = h.id RETURNING j.id),
    attempts AS (
        INSERT INTO jobs_attempt (job_id, number, worker, pid, claim_id, started_at, finished_at, outcome,
                                  error_class, message, traceback)
        SELECT h.id, h.attempt, h.worker, h.pid, h.claim_id, h.started_at, clock_timestamp(), h.outcome, '', h.error, ''
        FROM held AS h JOIN moved USING (id)
        ON CONFLICT DO NOTHING),
    events AS (
        INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
        SELECT h.id, clock_timestamp(), h.kind, h.text,
               jsonb_build_object('attempt', h.attempt, 'worker', h.worker, 'pid', h.pid)
        FROM held AS h JOIN moved USING (id))
    SELECT id FROM moved
"""


def requeue(cursor: Cursor, runs: Sequence[dict[str, Any]]) -> list[str]:
    """running → queued without using up an attempt; with attempt and event. Returns the ids whose claim still held.

    runs: id, claim_id, is_crash, outcome (lost, crashed, handed_back), kind and text of the event, error.
    """
    cursor.execute(_REQUEUE, [json.dumps(list(runs))])
    return [row[0] for row in cursor.fetchall()]


def running_of(cursor: Cursor, worker: str) -> list[dict[str, Any]]:
    """The claims that a worker's children hold: id, claim_id, pid, task, seconds that it has run, and since it was
    asked to stop (None if it was not).
    """
    cursor.execute(
        """
        SELECT id, claim_id::text, pid, task, extract(epoch FROM clock_timestamp() - started_at)::float AS seconds,
               extract(epoch FROM clock_timestamp() - cancel_requested_at)::float AS asked_seconds
        FROM jobs_job WHERE queue = ANY(%s) AND state = 'running' AND worker = %s
        """,
        [list(QUEUES), worker],
    )
    return rows(cursor)


def park(cursor: Cursor, job_id: str, text: str, *, most_seconds: float) -> bool:
    """queued → scheduled for a while, because the worker that was sent it does not know its task."""
    cursor.execute(
        """
        WITH parked AS (
            UPDATE jobs_job SET state = 'scheduled', sent_at = NULL, error = %(text)s,
                   headers = headers || jsonb_build_object('parked', COALESCE((headers->>'parked')::int, 0) + 1),
                   run_at = clock_timestamp() + make_interval(secs =>
                       LEAST(2 ^ LEAST(COALESCE((headers->>'parked')::int, 0), 10), %(most)s))
            WHERE id = %(id)s AND state = 'queued' RETURNING id, (headers->>'parked')::int AS times),
        noted AS (
            INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
            SELECT id, clock_timestamp(), 'parked', %(text)s, '{}'::jsonb FROM parked WHERE times = 1)
        SELECT id FROM parked
        """,
        {"id": job_id, "text": text, "most": most_seconds},
    )
    return bool(cursor.fetchall())


def is_any_message_old(cursor: Cursor, seconds: float) -> bool:
    """Whether a message sent so long ago is still unclaimed."""
    cursor.execute(
        """
        SELECT EXISTS (SELECT 1 FROM jobs_job WHERE state = 'queued' AND NOT held
                       AND sent_at < now() - make_interval(secs => %s))
        """,
        [seconds],
    )
    return bool(cursor.fetchall()[0][0])


def latest_claimed(cursor: Cursor) -> dict[tuple[str, int], Any]:
    """For each queue and priority: when the youngest message that is being run now was sent."""
    cursor.execute(
        """
        SELECT queue, priority, max(sent_at) FROM jobs_job
        WHERE queue = ANY(%s) AND state = 'running' GROUP BY queue, priority
        """,
        [list(QUEUES)],
    )
    return {(queue, priority): sent_at for queue, priority, sent_at in cursor.fetchall()}


_RESEND = """
    WITH lost AS (
        SELECT j.id, j.sent_at, j.sends FROM jobs_job AS j
        JOIN jsonb_to_recordset(%(lanes)s::jsonb) AS l(queue text, priority int, before timestamptz)
          ON l.queue = j.queue AND l.priority = j.priority
        WHERE j.state = 'queued' AND NOT j.held
          AND j.sent_at < now() - make_interval(secs => %(grace)s)
          -- Each send doubles the time until the next.
          AND j.sent_at < now() - make_interval(secs => LEAST(%(grace)s * 2 ^ (GREATEST(j.sends, 1) - 1), 600))
          AND (l.before IS NULL OR j.sent_at < l.before)
          AND NOT EXISTS (SELECT 1 FROM jobs_worker AS w
                          WHERE w.fetched ? j.id AND w.stopped_at IS NULL
                            AND w.heartbeat_at > now() - make_interval(secs => %(lease)s))
        ORDER BY j.sent_at LIMIT %(limit)s
        FOR UPDATE OF j SKIP LOCKED),
    owed AS (UPDATE jobs_job AS j SET sent_at = NULL FROM lost WHERE j.id = lost.id RETURNING j.id),
    events AS (
        INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
        SELECT lost.id, clock_timestamp(), 'resent',
               'Its message was sent at ' || to_char(lost.sent_at AT TIME ZONE 'UTC', 'HH24:MI:SS') || ' UTC and '
               || %(noticed)s || '; it is sent again.', jsonb_build_object('sends', lost.sends)
        FROM lost JOIN owed USING (id))
    SELECT id FROM owed
"""


def resend_lost(
    cursor: Cursor,
    lanes: dict[tuple[str, int], Any],
    noticed: str,
    *,
    grace_seconds: float,
    lease_seconds: float,
    limit: int,
) -> list[str]:
    """Have messages sent again that are missing in these lanes; those that a live worker has fetched are not.

    lanes: (queue, priority) → sent before when; None means all that are older than their grace.
    """
    if not lanes:
        return []
    described = [
        {"queue": queue, "priority": priority, "before": before and before.isoformat()}
        for (queue, priority), before in lanes.items()
    ]
    cursor.execute(
        _RESEND,
        {
            "lanes": json.dumps(described),
            "noticed": noticed,
            "grace": grace_seconds,
            "lease": lease_seconds,
            "limit": limit,
        },
    )
    return [row[0] for row in cursor.fetchall()]


def owe_all_again(cursor: Cursor, before: Any, limit: int) -> int:
    """Have every message sent again that the broker held and lost. Returns how many are owed now, at most `limit`."""
    cursor.execute(
        """
        WITH owed AS (
            UPDATE jobs_job SET sent_at = NULL, sends = 0
            WHERE id IN (SELECT id FROM jobs_job WHERE state = 'queued' AND NOT held AND sent_at <= %s
                         ORDER BY sent_at LIMIT %s FOR UPDATE SKIP LOCKED)
            RETURNING id)
        INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
        SELECT id, clock_timestamp(), 'resent', 'The broker was restarted or emptied; its message is sent again.', '{}'
        FROM owed
        RETURNING job_id
        """,
        [before, limit],
    )
    return len(cursor.fetchall())
