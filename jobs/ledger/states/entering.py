"""How rows come into being."""

import json
from collections.abc import Sequence

from jobs.ledger.records import Record
from jobs.ledger.states.machine import Cursor

_INSERT = """
    INSERT INTO jobs_job (
        id, task, args, kwargs, queue, priority, state, attempt, max_attempts, unique_key, run_at, created_at,
        expires_at, worker, progress_note, error, reason, origin, origin_detail, parent_id, root_id, group_id,
        embed, headers, limit_key, unique_until_start, unique_until, debounce_by)
    SELECT r.id, r.task, r.args, r.kwargs, r.queue, r.priority,
           CASE WHEN t.due > t.clock THEN 'scheduled' ELSE 'queued' END,
           0, r.max_attempts, r.unique_key, GREATEST(t.due, t.clock), t.clock,
           r.expires_at, '', '', '', '', r.origin, r.origin_detail, r.parent_id, r.root_id, r.group_id,
           r.embed, r.headers, r.limit_key,
           COALESCE(r.unique_options->>'unique_while' = 'queued', false),
           t.clock + make_interval(secs => (r.unique_options->>'unique_for_seconds')::float8),
           GREATEST(t.due, t.clock + make_interval(secs => (r.unique_options->>'debounce_max_seconds')::float8))
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        id text, task text, args jsonb, kwargs jsonb, queue text, priority int, max_attempts int, unique_key text,
        run_at timestamptz, delay_seconds float8, expires_at timestamptz, origin text, origin_detail text,
        parent_id text, root_id text, group_id text, embed jsonb, headers jsonb, limit_key text,
        unique_options jsonb),
    -- One reading of the clock a row: read twice, "now" would lie a microsecond ahead of itself.
    LATERAL (SELECT clock_timestamp() AS clock OFFSET 0) AS c,
    LATERAL (SELECT c.clock, GREATEST(
        COALESCE(c.clock + make_interval(secs => r.delay_seconds), r.run_at, c.clock),
        c.clock + make_interval(secs => (r.unique_options->>'debounce_seconds')::float8)) AS due) AS t
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
               queue = %s, priority = %s, max_attempts = attempt - uncounted + %s,
               sends = 0, held = false, state = 'queued', run_at = clock_timestamp(),
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
