"""The scan: what is planned and due becomes reminders, in one statement a batch, safe with many scanners at once."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from django.db import connection, transaction

from jobs import job
from reminders import moment
from reminders.models import Preferences, ReminderState
from reminders.services import outbox, outbox_rows
from reminders.services.outbox_rows import Waiting, numbers

#: Found later than this, it goes into a digest that says so; later than the second, it is recorded and not sent.
LATE_AFTER = timedelta(hours=1)
EXPIRES_AFTER = timedelta(hours=24)
#: Reminders of one person that lie closer together than this become one.
CLOSE = timedelta(minutes=10)
BATCH = 5_000

# A scanner leaves to another what that one is at, so that none waits for, and none doubles, the other's rows. The task
# is looked at inside the statement: what was done or moved meanwhile is taken off the plan and not reminded of.
_FIRE_THOSE = """
    WITH due AS (
        SELECT planned.id, planned.todo_id, planned.recipient_id, planned.kind, planned.rule_id, planned.fire_at,
               planned.schedule_version,
               todo.done_at IS NULL AND todo.schedule_version = planned.schedule_version AS wanted
        FROM reminders_plannedreminder planned JOIN reminders_todo todo ON todo.id = planned.todo_id
        WHERE planned.fire_at <= %(until)s {of_people}
        ORDER BY planned.fire_at, planned.id LIMIT %(batch)s
        FOR UPDATE OF planned SKIP LOCKED
    ), gone AS (
        DELETE FROM reminders_plannedreminder USING due WHERE reminders_plannedreminder.id = due.id
    ), made AS (
        INSERT INTO reminders_reminder
            (todo_id, recipient_id, kind, rule_id, fire_at, schedule_version, fired_at, late, state, reason)
        SELECT todo_id, recipient_id, kind, rule_id, fire_at, schedule_version, %(now)s, fire_at < %(late)s,
               CASE WHEN fire_at < %(expired)s THEN 'expired' ELSE %(state)s END,
               CASE WHEN fire_at < %(expired)s THEN %(why)s ELSE '' END
        FROM due WHERE wanted ORDER BY id
        ON CONFLICT (todo_id, kind, recipient_id) WHERE superseded_at IS NULL DO NOTHING
        RETURNING id, recipient_id, late, todo_id, state
    )
    SELECT (SELECT count(*) FROM due), made.* FROM (VALUES (0)) AS always LEFT JOIN made ON true
"""
_FIRE = _FIRE_THOSE.format(of_people="")
_FIRE_FOR = _FIRE_THOSE.format(of_people="AND planned.recipient_id = ANY(%(people)s)")

# Whoever gets several within a short time gets them in one: what is due soon is sent along, nothing is kept waiting.
_GATHERING = """
    WITH waiting AS (
        SELECT recipient_id, count(*) AS due FROM unnest(%(waiting)s::int[]) AS them (recipient_id) GROUP BY 1
    )
    SELECT waiting.recipient_id
    FROM waiting LEFT JOIN reminders_preferences kept ON kept.user_id = waiting.recipient_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS soon FROM reminders_plannedreminder planned
        JOIN reminders_todo todo ON todo.id = planned.todo_id AND todo.done_at IS NULL
        WHERE planned.recipient_id = waiting.recipient_id AND planned.fire_at > %(now)s AND planned.fire_at <= %(until)s
    ) ahead
    WHERE soon > 0 AND COALESCE(kept.digest_from, %(usual)s) BETWEEN 1 AND due + soon
"""

# Each part is the first of an index: no statistics can make it read more.
_OWED = """
    (SELECT 1 FROM reminders_plannedreminder WHERE fire_at <= %(now)s ORDER BY fire_at, id LIMIT 1)
    UNION ALL
    (SELECT 1 FROM reminders_reminder WHERE state = 'held' AND held_until <= %(now)s ORDER BY held_until, id LIMIT 1)
    UNION ALL
    (SELECT 1 FROM reminders_reminder WHERE state = 'due' ORDER BY recipient_id, id LIMIT 1)
    UNION ALL
    (SELECT 1 FROM reminders_reminderdelivery WHERE state = 'pending' AND job_id = '' ORDER BY id LIMIT 1)
    LIMIT 1
"""
_MUCH_DUE = "SELECT 1 FROM reminders_plannedreminder WHERE fire_at <= %s ORDER BY fire_at, id OFFSET %s LIMIT 1"
# It need not outlive a crash of the machine, and is not worth a wait for the disk each minute.
_NOTE_SUCCESS = """
    WITH soon AS (SELECT set_config('synchronous_commit', 'off', true))
    INSERT INTO reminders_scanrecord (id, last_success_at, last_fired, last_seconds)
    SELECT 1, %s, %s, %s FROM soon
    ON CONFLICT (id) DO UPDATE SET last_success_at = excluded.last_success_at, last_fired = excluded.last_fired,
                                   last_seconds = excluded.last_seconds
"""


@dataclass
class Fired:
    """By one statement. found: planned rows that were due. rows: reminders to be sent. expired: those that are not."""

    found: int = 0
    rows: list[Waiting] = field(default_factory=list)
    expired: int = 0


@dataclass
class Scan:
    """What a scan did. found: rows that were due. fired, expired: reminders made of them. The rest as in `outbox`."""

    found: int = 0
    fired: int = 0
    expired: int = 0
    released: int = 0
    held: int = 0
    dropped: int = 0
    deliveries: int = 0
    sent_jobs: int = 0
    seconds: float = 0


def send_due_soon() -> dict[str, Any]:
    """Fire all that is due, write what is to be delivered, and send a job for each delivery.

    Whatever a scan that was cut off has left is gone on with by the next one.
    """
    began = time.monotonic()
    now = moment.now()
    done = Scan()
    if is_anything_owed(now):
        fill_outbox(now, done)
        done.sent_jobs = outbox.send_jobs()
    done.seconds = round(time.monotonic() - began, 3)
    note_success(now, done)
    return asdict(done)


def fill_outbox(now: datetime, done: Scan) -> None:
    """All of a scan but its jobs: what is due becomes reminders, and these become deliveries."""
    if not _fill_at_once(now, done):
        _fill_in_batches(now, done)


def _fill_at_once(now: datetime, done: Scan) -> bool:
    """As usual: all of it in one transaction, each row written once. False, and nothing fired, if it is too much."""
    done.released += outbox_rows.release(now)
    with transaction.atomic():
        waiting = outbox_rows.claim(0, BATCH)
        if len(waiting) == BATCH or _is_much_due(now):
            return False
        fired = _fire(_FIRE, now, {"until": now, "batch": BATCH, "state": ReminderState.OUTBOX})
        waiting += fired.rows
        ahead = _gathered(now, [row.recipient_id for row in waiting], ReminderState.OUTBOX)
        waiting += ahead.rows
        outbox.write_batch(sorted(waiting, key=attrgetter("recipient_id", "id")), now, done)
    done.found += fired.found
    done.fired += len(fired.rows) + len(ahead.rows)
    done.expired += fired.expired
    return True


def _fill_in_batches(now: datetime, done: Scan) -> None:
    """After downtime: fire all, batch by batch, so that nobody's digest is divided; then write it, person by person."""
    found = BATCH
    while found == BATCH:
        found, fired, expired = fire(now, BATCH)
        done.found, done.fired, done.expired = done.found + found, done.fired + fired, done.expired + expired
        job.check_cancelled()
    done.fired += gather(now)
    outbox.write(now, done)


def is_anything_owed(now: datetime) -> bool:
    """Whether anything is due or held until now, or was left by a scan that was cut off."""
    with connection.cursor() as cursor:
        cursor.execute(_OWED, {"now": now})
        return cursor.fetchone() is not None


def fire(now: datetime, batch: int = BATCH) -> tuple[int, int, int]:
    """One batch of what is due: how many were found, how many of them fired, and how many came too late to be sent."""
    with transaction.atomic():
        outbox_rows.read_by_index()
        fired = _fire(_FIRE, now, {"until": now, "batch": batch, "state": ReminderState.DUE})
    return fired.found, len(fired.rows), fired.expired


def gather(now: datetime) -> int:
    """Fire ahead what would follow within minutes for people who get a digest anyway. Returns how many fired."""
    with transaction.atomic():
        outbox_rows.read_by_index()
        return len(_gathered(now, outbox_rows.waiting_people(), ReminderState.DUE).rows)


def _gathered(now: datetime, waiting: Sequence[int], state: ReminderState) -> Fired:
    """waiting: whom something is sent to now, as often as things are."""
    if not waiting:
        return Fired()
    until = now + CLOSE
    usual = Preferences._meta.get_field("digest_from").default
    with connection.cursor() as cursor:
        cursor.execute(_GATHERING, {"waiting": numbers(waiting), "now": now, "until": until, "usual": usual})
        people = [row[0] for row in cursor.fetchall()]
    if not people:
        return Fired()
    return _fire(_FIRE_FOR, now, {"until": until, "batch": 100 * BATCH, "people": people, "state": state})


def _fire(query: str, now: datetime, values: dict[str, Any]) -> Fired:
    late, expired = now - LATE_AFTER, now - EXPIRES_AFTER
    why = "found more than a day late"
    with connection.cursor() as cursor:
        cursor.execute(query, {"now": now, "late": late, "expired": expired, "why": why, **values})
        made = cursor.fetchall()
    rows = [Waiting(row[1], row[2], row[3], "", row[5], row[4]) for row in made if row[1] is not None]
    due = [row for row in rows if row.state != ReminderState.EXPIRED]
    return Fired(made[0][0], due, len(rows) - len(due))


def _is_much_due(now: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_MUCH_DUE, [now, BATCH - 1])
        return cursor.fetchone() is not None


def note_success(now: datetime, done: Scan) -> None:
    """Keep when a scan last went through to its end: health shows its age."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_SUCCESS, [now, done.fired, done.seconds])
