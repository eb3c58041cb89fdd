"""Whether a job may start now, and what holds it back if not.

A row that may not start is held: it waits in Postgres without a message, until `jobs.ledger.admission` lets it through.
Whoever hands a row on asks `blocked` first, and so does the claim: a message may be older than a limit or a pause.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.utils import timezone

from jobs.models.job import Job, State
from jobs.models.limit import Limit, Scope, Slot

if TYPE_CHECKING:
    from jobs.ledger.states import Cursor

# Conditions on a row l of jobs_limit.
IS_PAUSED = "(l.paused_at IS NOT NULL AND (l.resume_at IS NULL OR l.resume_at > now()))"
COUNTS = "(l.concurrency IS NOT NULL OR l.key_concurrency IS NOT NULL OR l.rate IS NOT NULL)"


def applies_to(job: str) -> str:
    """SQL: whether limit l is one of those that a job is under. job: the name or alias of its row."""
    return (
        f"(l.scope = 'everything' OR (l.scope = 'queue' AND l.name = {job}.queue)"
        f" OR (l.scope = 'task' AND l.name = {job}.task))"
    )


def blocked(job: str) -> str:
    """SQL: whether a pause holds a job back, or a limit that has not let its next run through."""
    return f"""EXISTS (
        SELECT 1 FROM jobs_limit AS l
        WHERE {applies_to(job)} AND ({IS_PAUSED} OR ({COUNTS} AND NOT EXISTS (
            SELECT 1 FROM jobs_slot AS s
            WHERE s.job_id = {job}.id AND s.limit_id = l.id AND s.attempt = {job}.attempt AND NOT s.ended))))"""  # noqa: S608


# `|| ''` keeps the planner off the indexes of all that waits, whatever the statistics say.
_HOLD = f"""
    UPDATE jobs_job AS j SET held = true, sent_at = NULL, sends = 0
    WHERE j.id = ANY(%s) AND j.state || '' = 'queued' AND NOT j.held AND {blocked("j")}
    RETURNING j.id
"""  # noqa: S608  (constants only)


def hold(cursor: "Cursor", ids: Sequence[str]) -> list[str]:
    """Have those of these queued jobs wait in Postgres that may not start now. Returns their ids."""
    cursor.execute(_HOLD, [list(ids)])
    return [row[0] for row in cursor.fetchall()]


def reasons_to_wait(job: Job) -> list[str]:
    """What holds a queued job back, a sentence each: "queue slow_lane: 1 running at once". Empty for any other."""
    if job.state != State.QUEUED:
        return []
    names = {Scope.EVERYTHING.value: "", Scope.QUEUE.value: job.queue, Scope.TASK.value: job.task}
    let_through = set(
        Slot.objects.filter(job_id=job.pk, attempt=job.attempt, ended=False).values_list("limit_id", flat=True)
    )
    reasons = []
    for limit in Limit.objects.all():
        if names[limit.scope] != limit.name:
            continue
        if is_paused(limit):
            reasons.append(f"{limit.title}: {pause_text(limit)}")
        elif counts(limit) and limit.pk not in let_through:
            reasons.append(f"{limit.title}: {limit_text(limit)}")
    return reasons


def is_paused(limit: Limit) -> bool:
    return limit.paused_at is not None and (limit.resume_at is None or limit.resume_at > timezone.now())


def counts(limit: Limit) -> bool:
    return any(value is not None for value in (limit.concurrency, limit.key_concurrency, limit.rate))


def pause_text(limit: Limit) -> str:
    """For people: "paused by ann: the far side is down; resumes at 2027-01-31 08:00 UTC"."""
    text = f"paused by {limit.paused_by or 'somebody'}"
    if limit.pause_reason:
        text += f": {limit.pause_reason}"
    if limit.resume_at is not None:
        local = timezone.localtime(limit.resume_at)
        text += f"; resumes at {local:%Y-%m-%d %H:%M:%S %Z}"
    return text


def limit_text(limit: Limit) -> str:
    """For people: "2 running at once, 1 of a key, 10 a minute"; empty for none."""
    parts = []
    if limit.concurrency is not None:
        parts.append(f"{limit.concurrency:,} running at once")
    if limit.key_concurrency is not None:
        parts.append(f"{limit.key_concurrency:,} of a key" + ("" if parts else " running at once"))
    if limit.rate is not None:
        parts.append(f"{limit.rate:,} started {_period_text(limit.rate_seconds)}")
    return ", ".join(parts)


def _period_text(seconds: int) -> str:
    names = {1: "a second", 60: "a minute", 3600: "an hour", 86_400: "a day"}
    return names.get(seconds) or f"in {seconds:,} s"


_TAKE_BACK = """
    DELETE FROM jobs_slot AS s USING jobs_job AS j
    WHERE s.limit_id = %s AND NOT s.ended AND j.id = s.job_id AND j.state = 'queued'
    RETURNING s.job_id
"""

_HOLD_UNLOCKED = """
    UPDATE jobs_job SET held = true, sent_at = NULL, sends = 0
    WHERE id IN (SELECT id FROM jobs_job WHERE id = ANY(%s) AND state || '' = 'queued' AND NOT held
                 FOR UPDATE SKIP LOCKED)
"""


def take_back(cursor: "Cursor", limit_id: int) -> None:
    """Hold again what a limit has let through and has not begun: its numbers have changed.

    A row that is being sent or claimed just now is left; its claim finds no slot, and holds it then.
    """
    cursor.execute(_TAKE_BACK, [limit_id])
    ids = [row[0] for row in cursor.fetchall()]
    if ids:
        cursor.execute(_HOLD_UNLOCKED, [ids])
