"""Who holds a unique key, and what a newer send of the key does to the jobs that have it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.ledger.records import Record
from jobs.ledger.states.machine import Cursor, rows

# Word for word what the index job_unique_key_held says, so that the planner uses it.
_HELD = """
    NOT key_released AND (state IN ('scheduled', 'queued', 'running')
                          OR (state = 'succeeded' AND unique_until IS NOT NULL))
"""


# Seeds the hash, so that these locks are not somebody else's.
_TURNS = 7_310_443


@dataclass(frozen=True)
class Obstacle:
    """The row because of which another was not inserted. is_elapsed: it succeeded, and its time is over."""

    id: str
    task: str
    state: str
    unique_until_start: bool
    is_elapsed: bool


def queue_up(cursor: Cursor, unique_keys: Sequence[str]) -> None:
    """Wait for the other senders who supersede under these keys, until the caller's transaction ends.

    One who has inserted locks the older jobs of the key; one who meets the key locks them and then waits for the first
    one's row. Each would wait for the other, so senders take turns before either.
    """
    for unique_key in unique_keys:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [unique_key, _TURNS])


def find_obstacle(cursor: Cursor, job_id: str, unique_key: str | None) -> Obstacle | None:
    """The job of this id, or else the one that holds the key."""
    cursor.execute(
        f"""
        SELECT id, task, state, unique_until_start,
               state = 'succeeded' AND unique_until <= clock_timestamp() AS is_elapsed
        FROM jobs_job WHERE id = %s OR (unique_key = %s AND {_HELD})
        ORDER BY id = %s DESC LIMIT 1
        """,  # noqa: S608  (constants only)
        [job_id, unique_key, job_id],
    )
    found = rows(cursor)
    return Obstacle(**{**found[0], "is_elapsed": bool(found[0]["is_elapsed"])}) if found else None


def hold_waiting(cursor: Cursor, job_id: str) -> bool:
    """Keep a job from being claimed until the caller's transaction ends. Returns False if it has been claimed."""
    cursor.execute(
        """
        SELECT id FROM jobs_job WHERE id = %s AND state IN ('scheduled', 'queued') AND NOT key_released
        FOR NO KEY UPDATE
        """,
        [job_id],
    )
    return bool(cursor.fetchall())


def release_elapsed(cursor: Cursor, unique_key: str) -> None:
    """Free a key whose holder has succeeded and has held it for as long as it was to."""
    cursor.execute(
        """
        UPDATE jobs_job SET key_released = true
        WHERE unique_key = %s AND NOT key_released AND state = 'succeeded' AND unique_until IS NOT NULL
          AND unique_until <= clock_timestamp()
        """,
        [unique_key],
    )


def release_key(cursor: Cursor, job_id: str) -> None:
    cursor.execute("UPDATE jobs_job SET key_released = true WHERE id = %s AND NOT key_released", [job_id])


def lock_unfinished(cursor: Cursor, record: Record, spared: str) -> list[tuple[str, str]]:
    """Lock the unfinished jobs of the record's key and task, itself and `spared` left out. Returns ids and states."""
    cursor.execute(
        """
        SELECT id, state FROM jobs_job
        WHERE (unique_key = %(key)s AND NOT key_released AND state IN ('scheduled', 'queued', 'running')
               OR unique_key = %(key)s AND key_released AND state IN ('scheduled', 'queued', 'running'))
          AND task || '' = %(task)s AND id <> %(id)s AND id <> %(spared)s
        ORDER BY id FOR NO KEY UPDATE
        """,
        {"key": record.unique_key, "task": record.task, "id": record.id, "spared": spared},
    )
    return [(job_id, state) for job_id, state in cursor.fetchall()]


# Where a newer send moves the start: so long after itself, or later if it asks for that; but no further than agreed.
_START = """
    LEAST(j.debounce_by, GREATEST(c.clock + make_interval(secs => %(debounce)s),
                                  c.clock + make_interval(secs => %(delay)s::float8), %(run_at)s::timestamptz))
"""
# "edited": a message that is under way carries the older arguments, so the claim must take the row's.
_DEBOUNCE = f"""
    UPDATE jobs_job AS j
    SET state = CASE WHEN {_START} > c.clock THEN 'scheduled' ELSE 'queued' END,
        run_at = CASE WHEN {_START} > c.clock THEN {_START} ELSE j.run_at END,
        sent_at = CASE WHEN {_START} > c.clock OR j.state = 'scheduled' THEN NULL ELSE j.sent_at END,
        sends = CASE WHEN {_START} > c.clock OR j.state = 'scheduled' THEN 0 ELSE j.sends END,
        held = j.held AND {_START} <= c.clock,
        args = %(args)s::jsonb, kwargs = %(kwargs)s::jsonb, embed = %(embed)s::jsonb,
        headers = j.headers || %(headers)s::jsonb, priority = GREATEST(j.priority, %(priority)s),
        expires_at = %(expires_at)s::timestamptz, limit_key = %(limit_key)s
    FROM (SELECT clock_timestamp() AS clock OFFSET 0) AS c
    WHERE j.unique_key = %(key)s AND NOT j.key_released AND j.state IN ('scheduled', 'queued')
      AND j.task || '' = %(task)s AND j.debounce_by IS NOT NULL AND j.run_at < '9000-01-01T00:00Z'
    RETURNING j.id, j.state = 'queued' AND j.sent_at IS NULL AND NOT j.held
"""  # noqa: S608


def debounce(cursor: Cursor, record: Record) -> tuple[str, bool] | None:
    """scheduled, queued → scheduled, for the newer arguments and a later start; → queued at the longest wait's end.

    Returns the job's id and whether its message is owed now; None if none waits under the key that was sent so.
    """
    options = record.unique_options
    cursor.execute(
        _DEBOUNCE,
        {
            "key": record.unique_key,
            "task": record.task,
            "debounce": options.debounce_seconds if options else 0.0,
            "delay": record.delay_seconds,
            "run_at": record.run_at,
            "args": json.dumps(record.args),
            "kwargs": json.dumps(record.kwargs),
            "embed": json.dumps(record.embed),
            "headers": json.dumps({**record.headers, "edited": 1}),
            "priority": record.priority,
            "expires_at": record.expires_at,
            "limit_key": record.limit_key,
        },
    )
    found = cursor.fetchall()
    return (found[0][0], bool(found[0][1])) if found else None


_COUNT_FOLDED = """
    INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
    SELECT id, clock_timestamp(), 'folded', 'A newer send of its key was folded in, by ' || %(by)s || '.',
           jsonb_build_object('count', 1, 'by', %(by)s::text, 'last_at', clock_timestamp())
    FROM jobs_job WHERE id = %(id)s
    ON CONFLICT (job_id) WHERE kind = 'folded' DO UPDATE
    SET text = ((jobs_jobevent.detail->>'count')::int + 1) || ' newer sends of its key were folded in, the last at '
               || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC by ' || %(by)s || '.',
        detail = jsonb_build_object('count', (jobs_jobevent.detail->>'count')::int + 1, 'by', %(by)s::text,
                                    'last_at', clock_timestamp())
"""


def count_folded(cursor: Cursor, job_id: str, by: str) -> None:
    """Count a send that a job took in: in one event, which a flood of them does not multiply."""
    cursor.execute(_COUNT_FOLDED, {"id": job_id, "by": by})
