"""Lets held jobs through as limits leave room: within all of them, in turn between keys.

One transaction at a time does this, under the lock of the limits' rows; so it does not matter how many processes ask.
It counts from the jobs' own rows, and nothing has to be given back: what crashed, ended or was rescued has moved on.
"""

import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from jobs.lanes import QUEUES
from jobs.ledger.limits import COUNTS, applies_to
from jobs.ledger.room import Held, Limits, choose
from jobs.ledger.states import Cursor, rows

logger = logging.getLogger(__name__)

BATCH = 200
MOST_PASSES = 10
RELEASE_BATCH = 1_000
#: While anything is held, and nobody asked for it, somebody looks this often: after crashes, pauses and periods.
LOOK_SECONDS = 2.0
LOCK_SECONDS = 2
#: A process that is stopped while it holds the lock loses it, and its transaction, after this.
HOLDER_SECONDS = 5


@dataclass
class Admitted:
    """ids: no longer held; their messages are owed. more: room and rows may be left, ask again at once."""

    ids: list[str] = field(default_factory=list)
    more: bool = False


def admit(cursor: Cursor, *, only_if_due: bool = False) -> Admitted:
    """Let through what may start. In a transaction of the caller's, to be committed at once.

    only_if_due: unless somebody has looked a moment ago. Raises a database error when the lock is not had in time.
    """
    cursor.execute(
        "SELECT set_config('lock_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true), "
        "set_config('enable_seqscan', 'off', true)",
        [f"{LOCK_SECONDS}s", f"{HOLDER_SECONDS}s"],
    )
    if not _take_turn(cursor, only_if_due=only_if_due):
        return Admitted()
    limits = _lock(cursor)
    _settle(cursor)
    limits.count(_slots_in_use(cursor))
    admitted = Admitted()
    queues: dict[str, list[str]] = {}
    for queue, task in _waiting_pairs(cursor):
        if limits.are_paused(queue, task):
            continue
        if not limits.counting(queue, task):
            released = _release(cursor, queue, task)
            admitted.ids += released
            admitted.more |= len(released) == RELEASE_BATCH
        else:
            queues.setdefault(queue, []).append(task)
    # Which queue is served first under a limit of several decides nothing for long.
    for queue in random.sample(sorted(queues), len(queues)):
        _admit_from(cursor, limits, queue, queues[queue], admitted)
    _look_again(cursor, limits)
    return admitted


def admit_all(connection: psycopg.Connection[Any], *, only_if_due: bool = False) -> list[str]:
    """Let through what may start, in as many transactions as it takes, up to some thousands of rows."""
    ids: list[str] = []
    for _ in range(MOST_PASSES):
        with connection.transaction(), connection.cursor() as cursor:
            admitted = admit(cursor, only_if_due=only_if_due and not ids)
        ids += admitted.ids
        if not admitted.more:
            break
    return ids


def _take_turn(cursor: Cursor, *, only_if_due: bool) -> bool:
    """Lock the row of everything, which there always is then, and put the next look off."""
    cursor.execute(
        """
        INSERT INTO jobs_limit AS l (scope, name, look_at)
        VALUES ('everything', '', clock_timestamp() + make_interval(secs => %s))
        ON CONFLICT (scope, name) DO UPDATE SET look_at = EXCLUDED.look_at
        WHERE NOT %s OR l.look_at <= clock_timestamp()
        RETURNING id
        """,
        [LOOK_SECONDS, only_if_due],
    )
    return bool(cursor.fetchall())


def _lock(cursor: Cursor) -> Limits:
    cursor.execute(
        """
        WITH ended AS (
            UPDATE jobs_limit SET paused_at = NULL, resume_at = NULL, pause_reason = '', paused_by = ''
            WHERE resume_at <= clock_timestamp() RETURNING trim(scope || ' ' || name) AS title)
        INSERT INTO jobs_auditentry (at, actor, via, action, target, detail)
        SELECT clock_timestamp(), 'switchyard', 'dispatcher', 'limit.resume', left(title, 255), '{"in_time": true}'
        FROM ended RETURNING target
        """
    )
    for (title,) in cursor.fetchall():
        logger.info("The pause of %s has ended by itself", title)
    cursor.execute(
        """
        SELECT id, scope, name, concurrency, key_concurrency, rate, rate_seconds, last_key,
               paused_at IS NOT NULL AS is_paused
        FROM jobs_limit ORDER BY id FOR UPDATE
        """
    )
    return Limits(rows(cursor))


# A slot is in use while its job is about to begin the run it is for, or in it. Under a rate, what began is kept: its
# start is the job's own, or, when the job has run again since, that of the attempt.
_CLEAR = f"""
    WITH looked AS (
        SELECT s.id, s.started_at AS noted, l.rate IS NOT NULL AS is_rated,
               COALESCE({COUNTS} AND (j.state = 'queued' AND NOT j.held AND j.attempt = s.attempt
                                      OR j.state = 'running' AND j.attempt = s.attempt + 1), false) AS in_use,
               CASE WHEN j.attempt = s.attempt + 1 THEN j.started_at
                    WHEN j.attempt > s.attempt + 1
                    THEN (SELECT min(a.started_at) FROM jobs_attempt AS a
                          WHERE a.job_id = s.job_id AND a.number = s.attempt + 1) END AS began
        FROM jobs_slot AS s JOIN jobs_limit AS l ON l.id = s.limit_id LEFT JOIN jobs_job AS j ON j.id = s.job_id
        WHERE NOT s.ended),
    gone AS (
        DELETE FROM jobs_slot WHERE id IN (
            SELECT id FROM looked WHERE NOT in_use AND NOT (is_rated AND COALESCE(noted, began) IS NOT NULL)))
    UPDATE jobs_slot AS s SET started_at = COALESCE(k.noted, k.began), ended = NOT k.in_use
    FROM looked AS k
    WHERE s.id = k.id AND (k.in_use AND k.noted IS NULL AND k.began IS NOT NULL
                           OR NOT k.in_use AND k.is_rated AND COALESCE(k.noted, k.began) IS NOT NULL)
"""  # noqa: S608  (constants only)

_FORGET = """
    DELETE FROM jobs_slot AS s USING jobs_limit AS l
    WHERE l.id = s.limit_id AND s.ended
      AND (l.rate IS NULL OR s.started_at <= clock_timestamp() - make_interval(secs => l.rate_seconds))
"""

# What runs already when a limit is made counts too. Each queue by name: the index of unfinished rows begins with it.
_ADOPT = f"""
    INSERT INTO jobs_slot (limit_id, job_id, attempt, key, started_at)
    SELECT l.id, j.id, j.attempt - 1, COALESCE(j.limit_key, ''), j.started_at
    FROM jobs_job AS j JOIN jobs_limit AS l ON {applies_to("j")} AND {COUNTS}
    WHERE j.queue = ANY(%s) AND j.state = 'running' AND j.attempt > 0
      AND NOT EXISTS (SELECT 1 FROM jobs_slot AS s
                      WHERE s.job_id = j.id AND s.limit_id = l.id AND s.attempt = j.attempt - 1)
    ON CONFLICT DO NOTHING
"""  # noqa: S608  (constants only)


def _settle(cursor: Cursor) -> None:
    """Make the slots say what runs, or is about to."""
    cursor.execute(_CLEAR)
    cursor.execute(_FORGET)
    cursor.execute(_ADOPT, [list(QUEUES)])


def _slots_in_use(cursor: Cursor) -> list[dict[str, Any]]:
    cursor.execute(
        """
        SELECT s.limit_id, s.key, count(*) FILTER (WHERE NOT s.ended) AS in_use, count(*) FILTER (
                   WHERE l.rate IS NOT NULL AND (s.started_at IS NULL
                         OR s.started_at > clock_timestamp() - make_interval(secs => l.rate_seconds))) AS in_period
        FROM jobs_slot AS s JOIN jobs_limit AS l ON l.id = s.limit_id
        GROUP BY s.limit_id, s.key
        """
    )
    return rows(cursor)


def _waiting_pairs(cursor: Cursor) -> list[tuple[str, str]]:
    """The queues and tasks that have held rows, by skipping through the index instead of reading it."""
    cursor.execute(
        """
        WITH RECURSIVE pair AS (
            (SELECT queue, task FROM jobs_job WHERE held AND state = 'queued' ORDER BY queue, task LIMIT 1)
            UNION ALL
            SELECT n.queue, n.task FROM pair AS p, LATERAL (
                SELECT queue, task FROM jobs_job
                WHERE held AND state = 'queued' AND (queue, task) > (p.queue, p.task)
                ORDER BY queue, task LIMIT 1) AS n)
        SELECT queue, task FROM pair
        """
    )
    return [(row[0], row[1]) for row in cursor.fetchall()]


def _release(cursor: Cursor, queue: str, task: str) -> list[str]:
    """Held rows that nothing limits any more."""
    cursor.execute(
        """
        UPDATE jobs_job SET held = false, sent_at = NULL
        WHERE id IN (SELECT id FROM jobs_job WHERE held AND state = 'queued' AND queue = %s AND task = %s
                     LIMIT %s FOR UPDATE SKIP LOCKED)
        RETURNING id
        """,
        [queue, task, RELEASE_BATCH],
    )
    return [row[0] for row in cursor.fetchall()]


def _admit_from(cursor: Cursor, limits: Limits, queue: str, tasks: Sequence[str], admitted: Admitted) -> None:
    after = limits.last_key(queue, tasks)
    waiting: list[Held] = []
    was_cut = False
    for task in tasks:
        room = min(limits.room(queue, task), BATCH)
        if room < 1:
            continue
        found, cut = _waiting(cursor, queue, task, after, limits.full_keys(queue, task), room)
        waiting += found
        was_cut |= cut
    chosen = choose(limits, queue, waiting, after, BATCH)
    if not chosen:
        return
    started = _let_through(cursor, limits, queue, chosen)
    limits.note_last_key(queue, tasks, chosen[-1].key)
    admitted.ids += started
    admitted.more |= was_cut and bool(started) and any(limits.room(queue, task) for task in tasks)


_KEYS = """
    WITH RECURSIVE ring AS (
        (SELECT COALESCE(limit_key, '') AS key FROM jobs_job
         WHERE held AND state = 'queued' AND queue = %(queue)s AND task = %(task)s
           AND COALESCE(limit_key, '') {first} %(after)s
         ORDER BY COALESCE(limit_key, '') LIMIT 1)
        UNION ALL
        SELECT n.key FROM ring AS r, LATERAL (
            SELECT COALESCE(limit_key, '') AS key FROM jobs_job
            WHERE held AND state = 'queued' AND queue = %(queue)s AND task = %(task)s
              AND COALESCE(limit_key, '') > r.key
            ORDER BY COALESCE(limit_key, '') LIMIT 1) AS n)
    SELECT key FROM ring WHERE key <> ALL(%(full)s) LIMIT %(most)s
"""

_FIRST_OF_KEYS = """
    SELECT k.key, n.id, n.priority, n.run_at
    FROM unnest(%(keys)s::text[]) AS k(key), LATERAL (
        SELECT id, priority, run_at FROM jobs_job
        WHERE held AND state = 'queued' AND queue = %(queue)s AND task = %(task)s
          AND COALESCE(limit_key, '') = k.key
        ORDER BY priority DESC, run_at LIMIT %(each)s) AS n
"""


def _waiting(
    cursor: Cursor, queue: str, task: str, after: str | None, full: Sequence[str], room: int
) -> tuple[list[Held], bool]:
    """The first held rows of each key whose turn comes next, `room` of them or a few more; and whether there are more.

    after: the key that was served last. Keys are found by skipping through the index, so that a flood of one key is
    not walked to come to the next.
    """
    values: dict[str, Any] = {"queue": queue, "task": task, "full": list(full), "most": room}
    keys: list[str] = []
    for first, start in ((">", after), (">=", "")):
        if start is not None and len(keys) < room:
            cursor.execute(_KEYS.format(first=first), {**values, "after": start})
            keys += [row[0] for row in cursor.fetchall() if row[0] not in keys]
    if not keys:
        return [], False
    each = math.ceil(room / len(keys))
    cursor.execute(_FIRST_OF_KEYS, {"keys": keys, "queue": queue, "task": task, "each": each})
    found = [Held(key, job_id, task, priority, run_at) for key, job_id, priority, run_at in cursor.fetchall()]
    return found, len(found) >= each


def _let_through(cursor: Cursor, limits: Limits, queue: str, chosen: Sequence[Held]) -> list[str]:
    """Give the chosen rows their slots. A row that somebody else is changing now waits for the next look."""
    # `|| ''` keeps the planner off the index of all that is held, whatever the statistics say.
    cursor.execute(
        """
        UPDATE jobs_job SET held = false, sent_at = NULL
        WHERE id IN (SELECT id FROM jobs_job WHERE id = ANY(%s) AND held AND state || '' = 'queued'
                     FOR UPDATE SKIP LOCKED)
        RETURNING id, attempt
        """,
        [[row.id for row in chosen]],
    )
    attempts: dict[str, int] = dict(cursor.fetchall())
    slots = [
        (limit_id, row.id, attempts[row.id], row.key)
        for row in chosen
        if row.id in attempts
        for limit_id in limits.counting(queue, row.task)
    ]
    columns = [list(column) for column in zip(*slots, strict=True)] or [[], [], [], []]
    cursor.execute(
        """
        INSERT INTO jobs_slot (limit_id, job_id, attempt, key)
        SELECT * FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::text[])
        ON CONFLICT (job_id, limit_id, attempt) DO UPDATE SET ended = false, started_at = NULL
        """,
        columns,
    )
    return [row.id for row in chosen if row.id in attempts]


def _look_again(cursor: Cursor, limits: Limits) -> None:
    """Keep whose turn is next, and look again as soon as a period lets another run begin."""
    for limit_id, key in limits.changed_keys():
        cursor.execute("UPDATE jobs_limit SET last_key = %s WHERE id = %s", [key, limit_id])
    full = limits.full_rates()
    if full:
        cursor.execute(
            """
            UPDATE jobs_limit SET look_at = LEAST(look_at, (
                SELECT min(t.opens) FROM jobs_limit AS l, LATERAL (
                    SELECT s.started_at + make_interval(secs => l.rate_seconds) AS opens FROM jobs_slot AS s
                    WHERE s.limit_id = l.id
                      AND s.started_at > clock_timestamp() - make_interval(secs => l.rate_seconds)
                    ORDER BY s.started_at LIMIT 1) AS t
                WHERE l.id = ANY(%s)))
            WHERE scope = 'everything'
            """,
            [full],
        )
