"""Takes due schedules out of Postgres and sends their jobs: ticks, jobs and the next due times in one transaction.

Whoever writes to a policy holds its schedule's row, so a tick and an edit come one after the other, and other beats
pass over what one of them has in hand. What is read before the row is locked counts for nothing; it is read again.
"""

import json
import logging
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction
from django_celery_beat.models import PeriodicTask

from jobs.ledger.door import collecting, enter_now, holder_of
from jobs.ledger.records import Record, clean_text
from jobs.models import TickOutcome
from jobs.schedules.calls import call_of
from jobs.schedules.catch_up import Plan, Tick, look_from, plan

logger = logging.getLogger(__name__)

BATCH = 200
#: Beats look at least so often, for edits and for what others did not get to.
LONGEST_WAIT_SECONDS = 1.0
#: After a look at rows that another transaction had in hand.
SHORT_WAIT_SECONDS = 0.1

_JOB_IDS = uuid.UUID("b0f2c1de-4c1f-5a57-9d0b-6d3a1f8a7c42")

_NEXT = """
    SELECT EXTRACT(EPOCH FROM min(next_run_at) - COALESCE(%s::timestamptz, clock_timestamp())),
           EXISTS (SELECT 1 FROM jobs_schedulepolicy WHERE stale)
    FROM jobs_schedulepolicy WHERE next_run_at IS NOT NULL
"""

# Not for update: that would stand in the way of the foreign keys that point here.
_TAKE = """
    SELECT p.id
    FROM jobs_schedulepolicy AS y JOIN django_celery_beat_periodictask AS p ON p.id = y.schedule_id
    WHERE {which} AND p.id <> ALL(%(passed)s)
    ORDER BY y.next_run_at LIMIT %(most)s FOR NO KEY UPDATE OF p SKIP LOCKED
"""
_TAKE_STALE = _TAKE.format(which="y.stale")
_TAKE_DUE = _TAKE.format(which="y.next_run_at <= COALESCE(%(now)s::timestamptz, clock_timestamp())")

_RECORDED = """
    SELECT t.schedule_id, t.due_at
    FROM jsonb_to_recordset(%s::jsonb) AS w(id int, since timestamptz)
    JOIN jobs_scheduletick AS t ON t.schedule_id = w.id AND t.due_at > w.since
"""

_RECORD = """
    INSERT INTO jobs_scheduletick (schedule_id, due_at, outcome, job_id, at, detail, ticks)
    SELECT r.schedule_id, r.due_at, r.outcome, r.job_id, r.at, r.detail, r.ticks
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        schedule_id int, due_at timestamptz, outcome text, job_id text, at timestamptz, detail text, ticks int)
    ON CONFLICT (schedule_id, due_at) DO NOTHING
"""

_MOVE_ON = """
    UPDATE jobs_schedulepolicy AS y
    SET next_run_at = r.next_run_at, counted_from = r.counted_from, problem = r.problem, stale = false
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        id int, next_run_at timestamptz, counted_from timestamptz, problem text)
    WHERE y.schedule_id = r.id
"""

# As django-celery-beat leaves them: a single run that is done is switched off with its count at 0.
_COUNT = """
    UPDATE django_celery_beat_periodictask AS p
    SET last_run_at = CASE WHEN r.sent > 0 THEN r.now ELSE p.last_run_at END,
        total_run_count = CASE WHEN r.ends AND p.one_off THEN 0 ELSE p.total_run_count + r.sent END,
        enabled = p.enabled AND NOT r.ends
    FROM jsonb_to_recordset(%s::jsonb) AS r(id int, sent int, now timestamptz, ends bool)
    WHERE p.id = r.id
"""


@dataclass
class Round:
    """What one transaction did. ids: the schedules that it dealt with."""

    ids: list[int] = field(default_factory=list)
    sent: int = 0


@dataclass
class _Taken:
    """A schedule whose row is held, and what is decided for it."""

    task: PeriodicTask
    plan: Plan
    records: list[Record] = field(default_factory=list)


def seconds_to_next(now: datetime | None = None) -> float:
    """How long beat may sleep, by Postgres' clock (or `now`); 0 if something is to be done."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, [now])
        seconds, is_any_stale = cursor.fetchone()
    if is_any_stale:
        return 0.0
    return LONGEST_WAIT_SECONDS if seconds is None else min(max(float(seconds), 0.0), LONGEST_WAIT_SECONDS)


def tick(now: datetime | None = None) -> float:
    """Deal with up to BATCH schedules that are due or were edited. Returns how many seconds to wait for the next look.

    now: instead of Postgres' clock. Raises OperationalError or InterfaceError while Postgres is away; nothing is lost
    then. What goes wrong with one schedule is recorded at it, and does not keep the others.
    """
    wait = seconds_to_next(now)
    if wait:
        return wait
    done = take(now)
    if not done.ids:
        return SHORT_WAIT_SECONDS
    return 0.0 if len(done.ids) >= BATCH else seconds_to_next(now)


def take(now: datetime | None = None) -> Round:
    """One transaction's worth of due schedules; one by one if they cannot be sent together."""
    try:
        return _take(now, BATCH)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("Schedules are sent one by one, because they could not be sent together")
    done = Round()
    while len(done.ids) < BATCH:
        one = _take_one(now, done.ids)
        if not one.ids:
            break
        done.ids += one.ids
        done.sent += one.sent
    return done


def _take_one(now: datetime | None, passed: list[int]) -> Round:
    """One due schedule that is not among the `passed`; if its jobs cannot be sent, its ticks are recorded as failed."""
    one = Round()
    try:
        return _take(now, 1, passed, done=one)
    except (OperationalError, InterfaceError):
        raise
    except Exception as exc:
        failed = f"{type(exc).__name__}: {exc}"
    try:
        return _take(now, 1, passed, failed=failed, done=one)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("Schedule %s cannot even be recorded as failed", one.ids)
        return Round(one.ids[:1])


def _take(
    now: datetime | None, most: int, passed: Sequence[int] = (), failed: str = "", done: Round | None = None
) -> Round:
    """done: told which rows were taken, also if an error follows. failed: record the ticks as failed, for this."""
    done = done or Round()
    with transaction.atomic(), connection.cursor() as cursor:
        ids: list[int] = []
        for statement in (_TAKE_STALE, _TAKE_DUE):
            if len(ids) < most:
                cursor.execute(statement, {"now": now, "passed": [*ids, *passed], "most": most - len(ids)})
                ids += [row[0] for row in cursor.fetchall()]
        done.ids = ids
        if not ids:
            return done
        if now is None:
            cursor.execute("SELECT clock_timestamp()")
            now = cursor.fetchone()[0]
        taken = _decide(cursor, ids, now)
        for one in taken:
            _call(one, failed)
        records = [record for one in taken for record in one.records]
        enter_now(records)
        _write(cursor, taken, {record.id: holder_of(record.id) for record in records}, now)
        done.sent = len(records)
        return done


def _decide(cursor: Any, ids: list[int], now: datetime) -> list[_Taken]:
    tasks = PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked", "policy").filter(pk__in=ids)
    found = sorted(tasks, key=lambda task: ids.index(task.pk))
    since = [{"id": task.pk, "since": look_from(task.policy).isoformat()} for task in found]
    cursor.execute(_RECORDED, [json.dumps(since)])
    recorded: dict[int, set[datetime]] = {}
    for schedule_id, due_at in cursor.fetchall():
        recorded.setdefault(schedule_id, set()).add(due_at)
    return [_Taken(task, _plan(task, now, recorded.get(task.pk, ()))) for task in found]


def _plan(task: PeriodicTask, now: datetime, recorded: Collection[datetime]) -> Plan:
    try:
        return plan(task, task.policy, now, recorded)
    except Exception as exc:
        logger.exception("Schedule %r has no next run", task.name)
        return Plan(problem=clean_text(f"{type(exc).__name__}: {exc}")[:1000])


def _call(one: _Taken, failed: str) -> None:
    """Make the jobs of a schedule's ticks, without inserting them yet."""
    for tick_ in one.plan.sends:
        try:
            if failed:
                raise RuntimeError(failed)
            with collecting() as records:
                task, args, kwargs, options = call_of(one.task)
                task.apply_async(args, kwargs, task_id=_job_id(one.task, tick_), **options)
            if not records:
                raise RuntimeError("the task's apply_async made no job")
        except Exception as exc:
            tick_.outcome = TickOutcome.FAILED
            tick_.detail = clean_text(failed or f"{type(exc).__name__}: {exc}")[:1000]
            logger.error("Schedule %r could not be sent: %s", one.task.name, tick_.detail)
            continue
        tick_.job_id = records[0].id
        one.records += records
    last = next(reversed(one.plan.sends), None)
    for tick_ in one.plan.ticks:
        if tick_.outcome == TickOutcome.FOLDED:
            _fold(tick_, last)


def _job_id(task: PeriodicTask, tick_: Tick) -> str:
    """The same for the same tick: sent again, whatever was deleted or put back, it would meet its own row."""
    return str(uuid.uuid5(_JOB_IDS, f"{task.pk} {tick_.due_at.isoformat()}"))


def _fold(tick_: Tick, into: Tick | None) -> None:
    if into is not None:
        tick_.job_id = into.job_id
    else:
        tick_.outcome, tick_.detail = TickOutcome.FAILED, "folded into a later tick, which could not be sent"


def _write(cursor: Any, taken: list[_Taken], folded: dict[str, str], now: datetime) -> None:
    ticks, moves, counts = [], [], []
    for one in taken:
        for tick_ in one.plan.ticks:
            holder = folded.get(tick_.job_id or "", tick_.job_id)
            if tick_.is_to_be_sent and holder != tick_.job_id:
                tick_.detail = "an unfinished job with the same key took it in"
            ticks.append(_row_of(one.task, tick_, holder, now))
        moves.append(
            {"id": one.task.pk, "next_run_at": one.plan.next_run_at, "counted_from": now, "problem": one.plan.problem}
        )
        if one.records or one.plan.ends:
            counts.append({"id": one.task.pk, "sent": len(one.records), "now": now, "ends": one.plan.ends})
        if one.records:
            logger.info("Schedule %r is due: sent %s", one.task.name, one.task.task)
    # The policies last: a trigger takes what is written to the schedules for an edit.
    for statement, rows in ((_RECORD, ticks), (_COUNT, counts), (_MOVE_ON, moves)):
        if rows:
            cursor.execute(statement, [json.dumps(rows, default=datetime.isoformat)])


def _row_of(task: PeriodicTask, tick_: Tick, job_id: str | None, now: datetime) -> dict[str, Any]:
    return {
        "schedule_id": task.pk,
        "due_at": tick_.due_at,
        "outcome": str(tick_.outcome),
        "job_id": job_id,
        "at": now,
        "detail": tick_.detail,
        "ticks": tick_.ticks,
    }
