"""What is known of outside effects: the only place that changes the state of one.

Each function is one statement in autocommit on a connection of its own, outside of the task's transaction: what has
been tried stays written down whatever becomes of the task. Each says which state, and which try, it expects. Each may
be sent again when the answer to it was lost.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from celery import current_app
from django.db import close_old_connections
from psycopg.rows import class_row

from jobs.ledger import connection
from jobs.ledger.run import Run
from jobs.ledger.states.machine import Cursor
from jobs.ledger.sweeps import Connection, Turn
from jobs.models import EffectState

#: How long after a doubtful effect was done the far side is looked at for a second copy.
CHECK_AFTER_SECONDS = 300
#: A try whose job has ended is given this long after its deadline before it counts as uncertain.
LOST_AFTER_SECONDS = 15
BATCH = 200

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Known:
    """An effect's row as a try needs it. wait_seconds: until the latest try's deadline; 0 or less when it is past."""

    id: int
    key: str
    kind: str
    target: str
    state: str
    identity: str
    request: bytes | None
    context: dict[str, Any]
    receipt: Any
    error: str
    attempts: int
    doubts: int
    try_id: str | None
    wait_seconds: float
    age_seconds: float


_COLUMNS = """
    id, key, kind, target, state, identity, request, context, receipt, error, attempts, doubts, try_id::text AS try_id,
    COALESCE(extract(epoch FROM deadline_at - clock_timestamp()), 0)::float8 AS wait_seconds,
    COALESCE(extract(epoch FROM clock_timestamp() - created_at), 0)::float8 AS age_seconds
"""


def insist(work: Callable[[Connection], T]) -> T:
    """Do it however long Postgres is away: what has been done outside must not be forgotten."""
    return connection.effects().insist(work)


def _one(query: str, parameters: dict[str, Any]) -> Known | None:
    def work(open_connection: Connection) -> Known | None:
        with open_connection.cursor(row_factory=class_row(Known)) as cursor:
            return cursor.execute(query, parameters).fetchone()

    return insist(work)


def find(key: str) -> Known | None:
    return _one(f"SELECT {_COLUMNS} FROM jobs_effect WHERE key = %(key)s", {"key": key})  # noqa: S608  (constants)


def intend(
    key: str,
    *,
    kind: str,
    target: str,
    identity: str,
    request: bytes | None,
    context: dict[str, Any],
    run: Run | None,
) -> Known:
    """Write an effect down unless it is; what was written first counts. Returns what is known of it."""
    values = {
        "key": key,
        "kind": kind,
        "target": target,
        "identity": identity,
        "request": request,
        "context": json.dumps(context),
        "job": run.job_id if run else None,
    }
    known = find(key)
    while known is None:
        known = _one(
            f"""
            INSERT INTO jobs_effect (key, job_id, kind, target, state, identity, request, context, receipt, error,
                                     attempts, doubts, created_at, decided_by, decision_reason)
            VALUES (%(key)s, %(job)s, %(kind)s, %(target)s, 'intended', %(identity)s, %(request)s, %(context)s::jsonb,
                    NULL, '', 0, 0, clock_timestamp(), '', '')
            ON CONFLICT (key) DO NOTHING RETURNING {_COLUMNS}
            """,  # noqa: S608
            values,
        ) or find(key)
    return known


_BEGIN = f"""
    UPDATE jobs_effect SET
        state = 'tried', try_id = %(try)s::uuid, attempts = attempts + (try_id IS DISTINCT FROM %(try)s::uuid)::int,
        doubts = doubts + (state IN ('tried', 'uncertain') AND try_id IS DISTINCT FROM %(try)s::uuid)::int,
        job_id = COALESCE(%(job)s::text, job_id), tried_at = clock_timestamp(),
        deadline_at = clock_timestamp() + make_interval(secs => %(seconds)s::float8), error = ''
    WHERE key = %(key)s
      AND (state = %(state)s::text AND try_id IS NOT DISTINCT FROM %(seen)s::uuid
             AND (state <> 'tried' OR deadline_at < clock_timestamp())
           -- Ours already: the answer to this very statement was lost with its connection.
           OR try_id = %(try)s::uuid)
      -- A run whose job has moved on begins nothing.
      AND (%(claim)s::uuid IS NULL
           OR EXISTS (SELECT 1 FROM jobs_job
                      WHERE id = %(job)s::text AND state = 'running' AND claim_id = %(claim)s::uuid))
    RETURNING {_COLUMNS}
"""  # noqa: S608


def begin(seen: Known, try_id: str, *, seconds: float, run: Run | None) -> Known | None:
    """Begin a try that has ended after so many seconds. None if the effect, or the run's job, has moved on."""
    return _one(
        _BEGIN,
        {
            "key": seen.key,
            "state": seen.state,
            "seen": seen.try_id,
            "try": try_id,
            "seconds": seconds,
            "job": run.job_id if run else None,
            "claim": run.claim_id if run else None,
        },
    )


_CONCLUDE = """
    UPDATE jobs_effect SET
        state = %(to)s::text, try_id = NULL, error = %(error)s::text, receipt = %(receipt)s::jsonb,
        done_at = CASE WHEN %(to)s::text = 'done' THEN clock_timestamp() END,
        check_at = CASE WHEN %(to)s::text = 'done' AND doubts > 0
                        THEN clock_timestamp() + make_interval(secs => %(check)s::float8) END
    WHERE key = %(key)s AND state = %(state)s::text AND try_id IS NOT DISTINCT FROM %(seen)s::uuid
    RETURNING id
"""


def conclude(seen: Known, state: EffectState, *, receipt: Any = None, error: str = "") -> bool:
    """Write down what became of the try that `seen` shows. False if something else is known of it by now."""
    parameters = {
        "key": seen.key,
        "state": seen.state,
        "seen": seen.try_id,
        "to": state.value,
        "receipt": None if receipt is None else json.dumps(receipt),
        "error": error[:1000],
        "check": CHECK_AFTER_SECONDS,
    }
    return insist(lambda open_connection: open_connection.execute(_CONCLUDE, parameters).fetchone()) is not None


def note_error(seen: Known, error: str) -> None:
    """Say of a try whose outcome is not known how it went wrong."""
    query = "UPDATE jobs_effect SET error = %s WHERE key = %s AND state = 'tried' AND try_id = %s::uuid"
    insist(lambda open_connection: open_connection.execute(query, [error[:1000], seen.key, seen.try_id]))


def doubt(key: str) -> None:
    """An earlier try was answered after a later one had begun: have the far side looked at for a second copy soon."""
    query = """
        UPDATE jobs_effect SET check_at = clock_timestamp(), error = 'an earlier try was answered after a later one '
               || 'had begun: it may have happened twice'
        WHERE key = %s AND state = 'done' AND attempts > 1
    """
    insist(lambda open_connection: open_connection.execute(query, [key]))


def forget(key: str) -> None:
    """Remove one that surely never happened, so that another with other bytes may take its key."""
    query = "DELETE FROM jobs_effect WHERE key = %s AND state IN ('intended', 'failed') AND doubts = 0"
    insist(lambda open_connection: open_connection.execute(query, [key]))


def note_happened(key: str) -> None:
    """Tell on the page of a job that found the effect uncertain that it is known to have happened."""
    query = """
        INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
        SELECT j.id, clock_timestamp(), 'effect_happened',
               'Effect ' || e.key || ' is known to have happened at '
               || to_char(e.done_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
               || ' UTC: if the job has failed, retry it; it passes over the effect.',
               jsonb_build_object('effect', e.id)
        FROM jobs_effect AS e JOIN jobs_job AS j ON j.id = e.job_id
        WHERE e.key = %s AND e.state = 'done' AND j.state <> 'succeeded'
    """
    insist(lambda open_connection: open_connection.execute(query, [key]))


# --- Sweeps --------------------------------------------------------------------------------------------------------

#: Tries that nobody will bring to an end: cut off in a job that has ended since, or in no job at all.
_LOST = """
    WITH lost AS (
        SELECT e.id, j.id AS job_id FROM jobs_effect AS e LEFT JOIN jobs_job AS j ON j.id = e.job_id
        WHERE e.state = 'tried' AND e.deadline_at < clock_timestamp() - make_interval(secs => %(after)s)
          AND (j.id IS NULL OR j.state NOT IN ('scheduled', 'queued', 'running'))
        LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED),
    marked AS (
        UPDATE jobs_effect AS e
        SET state = 'uncertain', try_id = NULL,
            error = CASE WHEN e.error = '' THEN 'the try was cut off, and its job has ended' ELSE e.error END
        FROM lost WHERE e.id = lost.id RETURNING e.id, e.key, lost.job_id),
    noted AS (
        INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
        SELECT job_id, clock_timestamp(), 'uncertain',
               'The try of effect ' || key || ' was cut off, and the job has ended: whether it happened is uncertain.',
               jsonb_build_object('effect', id)
        FROM marked WHERE job_id IS NOT NULL)
    SELECT id, false FROM marked
    UNION ALL SELECT NULL, EXISTS (SELECT 1 FROM jobs_effect WHERE check_at <= clock_timestamp())
"""


def sweep(open_connection: Connection, turn: Turn) -> int:
    """Mark as uncertain what was cut off and has no job left to look after it; send the job that counts copies."""
    found = open_connection.execute(_LOST, {"after": LOST_AFTER_SECONDS, "limit": BATCH}).fetchall()
    if len(found) > 1:
        logger.warning("%d effects are uncertain: their jobs ended while they were tried", len(found) - 1)
    is_check_due = found[-1][1]
    if is_check_due:
        close_old_connections()
        current_app.send_task("jobs.check_effects")
    return int(is_check_due)


# --- A person's word -----------------------------------------------------------------------------------------------

_DECIDE = """
    UPDATE jobs_effect SET
        state = CASE WHEN %(happened)s THEN 'done' ELSE 'failed' END, try_id = NULL,
        done_at = CASE WHEN %(happened)s THEN clock_timestamp() END, doubts = doubts + (NOT %(happened)s)::int,
        decided_at = clock_timestamp(), decided_by = %(by)s, decision_reason = %(reason)s
    WHERE id = %(id)s AND (state = 'uncertain' OR state = 'tried' AND deadline_at < clock_timestamp())
    RETURNING id
"""


def decide(cursor: Cursor, effect_id: int, *, happened: bool, by: str, reason: str) -> bool:
    """uncertain, or cut off → done or failed, in the caller's transaction. False in any other state."""
    cursor.execute(_DECIDE, {"id": effect_id, "happened": happened, "by": by[:255], "reason": reason})
    return bool(cursor.fetchall())
