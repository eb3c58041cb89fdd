"""What waits, and the messages that tell workers of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.ledger.limits import blocked
from jobs.ledger.records import MESSAGE_COLUMNS
from jobs.ledger.states.machine import Cursor, rows


@dataclass(frozen=True)
class Owed:
    """What an idle dispatcher learns in one statement. due_sweeps: names.
    is_anything_held: and nobody has looked at it for a while.
    sweep_count: how many are known to Postgres.
    paused: "everything:", "queue:NAME" or "task:NAME"."""

    is_sending_owed: bool
    is_anything_held: bool
    due_sweeps: list[str]
    sweep_count: int
    paused: list[str]


def look(cursor: Cursor, grace_seconds: float) -> Owed:
    """Whether a message is due or unsent, whether rows wait on limits, and which sweeps are due."""
    cursor.execute(
        """
        SELECT EXISTS (SELECT 1 FROM jobs_job WHERE state = 'scheduled' AND run_at <= now())
            OR EXISTS (SELECT 1 FROM jobs_job WHERE state = 'queued' AND sent_at IS NULL AND NOT held
                       AND run_at <= now() - make_interval(secs => %s)),
            (EXISTS (SELECT 1 FROM jobs_job WHERE state = 'queued' AND held)
             OR EXISTS (SELECT 1 FROM jobs_limit WHERE resume_at <= now()))
            AND NOT EXISTS (SELECT 1 FROM jobs_limit WHERE scope = 'everything' AND look_at > now()),
            ARRAY(SELECT name::text FROM jobs_sweep WHERE due_at <= now()), (SELECT count(*) FROM jobs_sweep),
            ARRAY(SELECT scope || ':' || name FROM jobs_limit
                  WHERE paused_at IS NOT NULL AND (resume_at IS NULL OR resume_at > now()))
        """,
        [grace_seconds],
    )
    sending, held, sweeps, count, paused = cursor.fetchall()[0]
    return Owed(bool(sending), bool(held), list(sweeps), int(count), list(paused))


def promote_due(cursor: Cursor, limit: int) -> list[str]:
    """scheduled → queued, where the time has come. Commit this before publishing.

    A claim sees the committed state: were the message out first, its claim would find the job still scheduled, and
    drop the message.
    """
    cursor.execute(
        """
        UPDATE jobs_job SET state = 'queued', sent_at = NULL, sends = 0
        WHERE id IN (SELECT id FROM jobs_job WHERE state = 'scheduled' AND run_at <= now()
                     ORDER BY run_at LIMIT %s FOR UPDATE SKIP LOCKED)
        RETURNING id
        """,
        [limit],
    )
    return [row[0] for row in cursor.fetchall()]


_OWED = f"""
    SELECT {MESSAGE_COLUMNS}, {blocked("jobs_job")} AS is_blocked FROM jobs_job
    WHERE state = 'queued' AND sent_at IS NULL AND NOT held
      AND (run_at <= now() - make_interval(secs => %(grace)s) OR id = ANY(%(promoted)s))
    ORDER BY priority DESC, run_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
"""  # noqa: S608  (constants only)


def lock_owed(cursor: Cursor, *, promoted: Sequence[str], limit: int, grace_seconds: float) -> list[dict[str, Any]]:
    """Lock queued rows whose message is owed: just promoted, or unsent for `grace_seconds`.

    Those with `is_blocked` may not start yet: they are to be held instead.
    """
    cursor.execute(_OWED, {"promoted": list(promoted), "limit": limit, "grace": grace_seconds})
    return rows(cursor)


def mark_sent(cursor: Cursor, sent: Sequence[tuple[str, int]]) -> None:
    """Note the sending of (id, attempt). Rows that were claimed, or have run, meanwhile stay as they are."""
    sent = sorted(sent)  # as a sender who supersedes locks the jobs of a key
    cursor.execute(
        """
        UPDATE jobs_job AS j SET sent_at = clock_timestamp(), sends = LEAST(j.sends + 1, 100)
        FROM unnest(%s::text[], %s::int[]) AS s(id, attempt)
        WHERE j.id = ANY(%s) AND j.id = s.id AND j.attempt = s.attempt AND j.state = 'queued' AND j.sent_at IS NULL
          AND NOT j.held
        """,
        [[job_id for job_id, _ in sent], [attempt for _, attempt in sent], [job_id for job_id, _ in sent]],
    )


def mark_unsent(cursor: Cursor, ids: Sequence[str]) -> None:
    """Take a mark back: the messages could not be handed over after all."""
    cursor.execute(
        """
        UPDATE jobs_job SET sent_at = NULL, sends = GREATEST(sends - 1, 0) WHERE id = ANY(%s) AND state = 'queued'
        """,
        [list(ids)],
    )


def owe_again(cursor: Cursor, ids: Sequence[str], noticed: str = "") -> None:
    """Have dispatchers send waiting jobs once more. noticed: why messages are taken for lost, for the jobs' pages."""
    cursor.execute(
        """
        WITH owed AS (
            UPDATE jobs_job SET sent_at = NULL WHERE id = ANY(%s) AND state = 'queued' AND sent_at IS NOT NULL
            RETURNING id, sends)
        INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
        SELECT id, clock_timestamp(), 'resent', 'Its message was lost: ' || %s::text || '; it is sent again.',
               jsonb_build_object('sends', sends)
        FROM owed WHERE %s::text <> ''
        """,
        [list(ids), noticed, noticed],
    )


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
