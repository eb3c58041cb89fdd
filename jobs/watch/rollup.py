"""Adds what ended to the counts that metrics are made of, so that no scrape reads history.

Rows are found by their number (or, for jobs, by when they finished), which is drawn before the commit; so a row may
come to light below one that is counted already. Therefore each turn only notes how far numbers have been drawn, and
by which transactions. A later one counts up to there, once all of those have ended: each row once, and none left out.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from jobs.ledger.sweeps import Connection, Turn

#: Upper bounds in seconds; a last bucket holds what lies beyond.
BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
#: Rows that one statement looks at.
BATCH = 20_000
#: Names of tasks that get counts of their own; a sender of made-up names must not fill the monitoring.
MOST_TASKS = 300
OTHER = "other"

_DRAWN = """
    SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM jobs_attempt_id_seq) AS attempts,
           (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM jobs_jobevent_id_seq) AS events,
           clock_timestamp() AS finished
"""
_START = f"""
    INSERT INTO jobs_rollupmark (id, attempts_to, events_to, finished_to, next_attempts, next_events, next_finished,
                                 next_xid)
    SELECT 1, attempts, events, finished, attempts, events, finished, 0 FROM ({_DRAWN}) AS d ON CONFLICT DO NOTHING
"""  # noqa: S608  (constants only)

_LOOK = f"""
    SELECT m.attempts_to, m.events_to, m.finished_to, m.next_attempts, m.next_events, m.next_finished,
           m.next_xid <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS is_settled,
           d.attempts <> m.attempts_to OR d.events <> m.events_to OR EXISTS (
               SELECT 1 FROM jobs_job WHERE state IN ('failed', 'cancelled', 'discarded')
               AND finished_at > m.finished_to) AS is_behind
    FROM jobs_rollupmark AS m, ({_DRAWN}) AS d
"""  # noqa: S608

# Numbers that were drawn anew from the beginning, after a restore for example, are followed down.
_ADVANCE = f"""
    UPDATE jobs_rollupmark AS m SET
        attempts_to = LEAST(%(attempts)s, d.attempts), events_to = LEAST(%(events)s, d.events),
        finished_to = %(finished)s, next_attempts = d.attempts, next_events = d.events, next_finished = d.finished,
        next_xid = pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    FROM ({_DRAWN}) AS d
    WHERE m.attempts_to = %(was)s AND m.events_to = %(events_were)s AND m.finished_to = %(finished_was)s
"""  # noqa: S608

# A run waits from when its job was due, or its previous run ended, until it began. Of a job that has begun another run
# since, it is not known any more when this one was due.
_RUNS = """
    SELECT task, queue, outcome, width_bucket(run, %(bounds)s::float8[]), width_bucket(wait, %(bounds)s::float8[]),
           count(*), COALESCE(sum(run), 0), count(wait), COALESCE(sum(wait), 0)
    FROM (SELECT j.task, j.queue, a.outcome,
                 GREATEST(extract(epoch FROM a.finished_at - a.started_at), 0)::float8 AS run,
                 CASE WHEN a.number = j.attempt AND j.run_at <= a.started_at AND a.outcome <> 'superseded'
                      THEN GREATEST(extract(epoch FROM a.started_at - GREATEST(j.run_at, CASE WHEN a.number > 1 THEN
                           (SELECT max(p.finished_at) FROM jobs_attempt AS p
                            WHERE p.job_id = a.job_id AND p.number = a.number - 1) END)), 0)::float8 END AS wait
          FROM jobs_attempt AS a JOIN jobs_job AS j ON j.id = a.job_id
          WHERE a.id > %(from)s AND a.id <= %(to)s) AS runs
    GROUP BY 1, 2, 3, 4, 5
"""
_SUCCEEDED = """
    SELECT j.task, j.queue, 'succeeded', count(*) FROM jobs_attempt AS a JOIN jobs_job AS j ON j.id = a.job_id
    WHERE a.id > %(from)s AND a.id <= %(to)s AND a.outcome = 'succeeded' AND a.finished_at = j.finished_at GROUP BY 1, 2
"""
_FINISHED = """
    SELECT task, queue, state, count(*) FROM jobs_job
    WHERE state IN ('failed', 'cancelled', 'discarded') AND finished_at > %(from)s AND finished_at <= %(to)s
    GROUP BY 1, 2, 3
"""
_EVENTS = """
    SELECT '', '', kind, count(*) FROM jobs_jobevent WHERE id > %(from)s AND id <= %(to)s GROUP BY kind
"""

_ADD = """
    INSERT INTO jobs_rollup AS r (measure, task, queue, outcome, count, run_seconds, run_buckets, wait_count,
                                  wait_seconds, wait_buckets)
    SELECT measure, task, queue, outcome, count, run_seconds, run_buckets, wait_count, wait_seconds, wait_buckets
    FROM jsonb_to_recordset(%s::jsonb) AS i(
        measure text, task text, queue text, outcome text, count bigint, run_seconds float8, run_buckets bigint[],
        wait_count bigint, wait_seconds float8, wait_buckets bigint[])
    ON CONFLICT (measure, task, queue, outcome) DO UPDATE SET
        count = r.count + EXCLUDED.count, run_seconds = r.run_seconds + EXCLUDED.run_seconds,
        wait_count = r.wait_count + EXCLUDED.wait_count, wait_seconds = r.wait_seconds + EXCLUDED.wait_seconds,
        run_buckets = ARRAY(SELECT COALESCE(u.a, 0) + COALESCE(u.b, 0)
                            FROM unnest(r.run_buckets, EXCLUDED.run_buckets) WITH ORDINALITY AS u(a, b, i) ORDER BY i),
        wait_buckets = ARRAY(SELECT COALESCE(u.a, 0) + COALESCE(u.b, 0)
                             FROM unnest(r.wait_buckets, EXCLUDED.wait_buckets) WITH ORDINALITY AS u(a, b, i)
                             ORDER BY i)
"""


def _buckets() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


@dataclass
class Counts:
    """What is added to one row."""

    count: int = 0
    run_seconds: float = 0.0
    run_buckets: list[int] = field(default_factory=_buckets)
    wait_count: int = 0
    wait_seconds: float = 0.0
    wait_buckets: list[int] = field(default_factory=_buckets)


@dataclass(frozen=True)
class _Mark:
    attempts_to: int
    events_to: int
    finished_to: Any
    next_attempts: int
    next_events: int
    next_finished: Any
    is_settled: bool
    is_behind: bool


Found = dict[tuple[str, str, str, str], Counts]


def sweep(connection: Connection, turn: Turn) -> int:
    """Count what has ended, and note how far the next turn may. One statement when there is nothing new."""
    row = connection.execute(_LOOK).fetchone()
    if row is None:
        connection.execute(_START)
        return 0
    mark = _Mark(*row)
    if mark.is_behind and mark.is_settled:
        _count(connection, mark)
    return 0


def _count(connection: Connection, mark: _Mark) -> None:
    """All that is settled, batch by batch, each with its mark in one transaction."""
    reached = mark.attempts_to
    while reached + BATCH < mark.next_attempts:
        upto = reached + BATCH
        with connection.transaction():
            # The row's lock keeps a second process out, which may have begun while this one was frozen.
            moved = connection.execute(
                "UPDATE jobs_rollupmark SET attempts_to = %s WHERE attempts_to = %s", [upto, reached]
            )
            if not moved.rowcount:
                return
            _add(connection, _runs(connection, reached, upto))
        reached = upto
    with connection.transaction():
        moved = connection.execute(
            _ADVANCE,
            {
                "attempts": mark.next_attempts,
                "events": mark.next_events,
                "finished": mark.next_finished,
                "was": reached,
                "events_were": mark.events_to,
                "finished_was": mark.finished_to,
            },
        )
        if not moved.rowcount:
            return
        found = _runs(connection, reached, mark.next_attempts) if mark.next_attempts > reached else {}
        _tally(found, "finish", connection, _FINISHED, mark.finished_to, mark.next_finished)
        if mark.next_events > mark.events_to:
            _tally(found, "event", connection, _EVENTS, mark.events_to, mark.next_events)
        _add(connection, found)


def _runs(connection: Connection, start: int, end: int) -> Found:
    found: Found = {}
    parameters = {"from": start, "to": end, "bounds": list(BOUNDS)}
    for row in connection.execute(_RUNS, parameters).fetchall():
        task, queue, outcome, run_bucket, wait_bucket, count, run_seconds, waits, wait_seconds = row
        counts = found.setdefault(("run", task, queue, outcome), Counts())
        counts.count += count
        counts.run_seconds += run_seconds
        counts.run_buckets[run_bucket] += count
        if wait_bucket is not None:
            counts.wait_count += waits
            counts.wait_seconds += wait_seconds
            counts.wait_buckets[wait_bucket] += waits
    _tally(found, "finish", connection, _SUCCEEDED, start, end)
    return found


def _tally(found: Found, measure: str, connection: Connection, query: str, start: Any, end: Any) -> None:
    rows: Iterable[Any] = connection.execute(query, {"from": start, "to": end}).fetchall()
    for task, queue, outcome, count in rows:
        found.setdefault((measure, task, queue, outcome), Counts()).count += count


def _add(connection: "psycopg.Connection[Any]", found: Found) -> None:
    if not found:
        return
    known = {task for (task,) in connection.execute("SELECT DISTINCT task FROM jobs_rollup").fetchall()}
    merged: Found = {}
    for (measure, name, queue, outcome), counts in found.items():
        task = name
        if task not in known:
            task = name if len(known) < MOST_TASKS else OTHER
            known.add(task)
        _merge(merged.setdefault((measure, task, queue, outcome), Counts()), counts)
    rows = [
        {"measure": measure, "task": task, "queue": queue, "outcome": outcome, **vars(counts)}
        for (measure, task, queue, outcome), counts in merged.items()
    ]
    connection.execute(_ADD, [json.dumps(rows)])


def _merge(into: Counts, more: Counts) -> None:
    into.count += more.count
    into.run_seconds += more.run_seconds
    into.wait_count += more.wait_count
    into.wait_seconds += more.wait_seconds
    into.run_buckets = [a + b for a, b in zip(into.run_buckets, more.run_buckets, strict=True)]
    into.wait_buckets = [a + b for a, b in zip(into.wait_buckets, more.wait_buckets, strict=True)]
