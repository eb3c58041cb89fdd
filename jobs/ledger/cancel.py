"""Asking a running job to stop: what is stored of it, and how far it has come."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jobs.ledger import states
from jobs.ledger.events import note
from jobs.ledger.states import Cursor, rows

REQUESTED, SOFT, KILLED = "cancel_requested", "cancel_soft", "cancel_killed"


class Mode(StrEnum):
    """How a running job is made to stop.

    asked: it stops at its next report, or not. graced: asked; after a while its soft limit is raised; then its process
    is killed. forced: its process is killed at once.
    """

    ASKED = "asked"
    GRACED = "graced"
    FORCED = "forced"


@dataclass(frozen=True)
class Asked:
    """A running job that was asked to stop. waited_seconds: since then, by Postgres' clock."""

    id: str
    claim_id: str
    pid: int
    waited_seconds: float
    mode: Mode


def request(cursor: Cursor, job_id: str, reason: str, mode: Mode = Mode.GRACED, **detail: Any) -> bool:
    """Ask a running job to stop, and note it among its events. Returns False if the job is not running.

    Asking again keeps the time of the first request; the strongest mode counts.
    """
    if not states.request_cancel(cursor, job_id, reason):
        return False
    meant = {
        Mode.ASKED: "it stops at its next report",
        Mode.GRACED: "if it does not stop by itself, its soft limit is raised, and then its process is killed",
        Mode.FORCED: "its process is killed at once",
    }[mode]
    note(cursor, job_id, REQUESTED, f"Asked to stop ({reason}): {meant}.", mode=mode.value, **detail)
    return True


def find_asked(cursor: Cursor, job_ids: list[str], worker: str) -> list[Asked]:
    """Which of these jobs, that a worker's children run under claims of its own, were asked to stop."""
    # By primary key, whatever the statistics say.
    cursor.execute(
        """
        SELECT j.id, j.claim_id::text, j.pid,
               extract(epoch FROM clock_timestamp() - GREATEST(j.cancel_requested_at, j.started_at))::float8 AS waited,
               ARRAY(SELECT DISTINCT e.detail->>'mode' FROM jobs_jobevent AS e
                     WHERE e.job_id = j.id AND e.kind = %s AND e.at >= j.cancel_requested_at) AS modes
        FROM jobs_job AS j
        WHERE j.id = ANY(%s) AND j.state || '' = 'running' AND j.worker = %s AND j.cancel_requested_at IS NOT NULL
        """,
        [REQUESTED, job_ids, worker],
    )
    return [
        Asked(row["id"], row["claim_id"], row["pid"], row["waited"], _strongest(row["modes"])) for row in rows(cursor)
    ]


def _strongest(modes: list[str]) -> Mode:
    if Mode.FORCED in modes:
        return Mode.FORCED
    return Mode.ASKED if modes == [Mode.ASKED] else Mode.GRACED
