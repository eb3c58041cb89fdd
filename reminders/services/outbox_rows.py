"""The outbox in SQL: each step is one statement, however many reminders it is of."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, time
from typing import Any, NamedTuple

from django.db import connection, transaction

from reminders.models import Priority, ReminderState

#: Whoever writes the outbox holds this advisory lock: of two who claim at once, each would get some of one person's.
_LOCK = 5_301_774
_ALONE = "SELECT pg_advisory_xact_lock(%s)"
_ALONE_BY_INDEX = f"{_ALONE}, set_config('enable_seqscan', 'off', true)"
_BY_INDEX = "SET LOCAL enable_seqscan = off"

# What somebody else holds is being closed or put off by them.
_RELEASE = """
    UPDATE reminders_reminder SET state = 'due', held_until = NULL, reason = '' WHERE id IN (
        SELECT id FROM reminders_reminder WHERE state = 'held' AND held_until <= %s
        ORDER BY held_until, id FOR NO KEY UPDATE SKIP LOCKED
    )
"""
_CLAIM = """
    SELECT reminder.id, reminder.recipient_id, reminder.late,
           CASE WHEN reminder.superseded_at IS NOT NULL OR reminder.schedule_version <> todo.schedule_version
                THEN 'the task''s date was changed'
                WHEN todo.done_at IS NOT NULL THEN 'the task was closed' ELSE '' END,
           reminder.state, todo.id
    FROM reminders_reminder reminder JOIN reminders_todo todo ON todo.id = reminder.todo_id
    WHERE reminder.state = 'due' AND reminder.recipient_id > %(after)s
    ORDER BY reminder.recipient_id, reminder.id LIMIT %(batch)s FOR NO KEY UPDATE OF reminder SKIP LOCKED
"""
_SETTLE = """
    UPDATE reminders_reminder reminder SET state = new.state, held_until = new.held_until, reason = new.reason
    FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::text[]) AS new (id, state, held_until, reason)
    WHERE reminder.id = new.id
"""
# What nearly all become: no arrays of what is the same for each.
_SETTLE_ALIKE = """
    UPDATE reminders_reminder SET state = %s, held_until = NULL, reason = '' WHERE id = ANY(%s::bigint[])
"""
# The sequence is looked up once.
_NUMBERS = """
    SELECT nextval(name) FROM (SELECT pg_get_serial_sequence('reminders_reminderdelivery', 'id')::regclass OFFSET 0)
    AS sequence (name), generate_series(1, %s)
"""
_WRITE = """
    WITH written AS (
        INSERT INTO reminders_reminderdelivery
            (id, channel_id, recipient_id, layout, created_at, state, message_id, attempts, error, job_id)
        SELECT new.id, new.channel_id, new.recipient_id, new.layout, %(now)s, 'pending', '', 0, '', ''
        FROM unnest(%(ids)s::bigint[], %(channels)s::bigint[], %(recipients)s::bigint[], %(layouts)s::text[])
            AS new (id, channel_id, recipient_id, layout)
    )
    INSERT INTO reminders_deliveredreminder (delivery_id, reminder_id)
    SELECT * FROM unnest(%(of)s::bigint[], %(reminders)s::bigint[])
"""
_UNSENT = """
    SELECT delivery.id, channel.kind
    FROM reminders_reminderdelivery delivery JOIN reminders_channel channel ON channel.id = delivery.channel_id
    WHERE delivery.state = 'pending' AND delivery.job_id = ''
    ORDER BY delivery.id LIMIT %s FOR NO KEY UPDATE OF delivery SKIP LOCKED
"""
_NOTE_JOBS = """
    UPDATE reminders_reminderdelivery delivery SET job_id = new.job_id
    FROM unnest(%s::bigint[], %s::text[]) AS new (id, job_id) WHERE delivery.id = new.id
"""
# Arrays, and no models: a scan reads thousands of people at once.
_PEOPLE = """
    SELECT users.id, users.email, kept.id IS NOT NULL, kept.time_zone, kept.quiet_from, kept.quiet_until,
           kept.urgent_bypasses_quiet, kept.digest_from, kept.paused_until
    FROM auth_user users LEFT JOIN reminders_preferences kept ON kept.user_id = users.id
    WHERE users.id = ANY(%s::int[]) AND users.is_active
"""
_CHANNELS = """
    SELECT user_id, id, kind, address <> '', enabled, unsubscribed_at, set_aside_at, set_aside_because, waits_since
    FROM reminders_channel WHERE user_id = ANY(%s::int[]) ORDER BY user_id, id
"""


_URGENT = "SELECT id FROM reminders_todo WHERE id = ANY(%s::bigint[]) AND priority = %s"


class Waiting(NamedTuple):
    """A reminder that fired. why_not: why it is not to be sent, if that is so.

    Whether its task is urgent is asked for once the row is locked (`urgent_among`): whoever makes it so has it looked
    at anew, and a statement that saw the task before that may lock the row after it.
    """

    id: int
    recipient_id: int
    late: bool
    why_not: str
    state: str
    todo_id: int


class Habits(NamedTuple):
    """Of somebody's `Preferences`, what decides how they are reminded."""

    time_zone: str
    quiet_from: time | None
    quiet_until: time | None
    urgent_bypasses_quiet: bool
    digest_from: int
    paused_until: datetime | None


class Account(NamedTuple):
    """One that is active. preferences: None for who has set nothing."""

    id: int
    email: str
    preferences: Habits | None


class Way(NamedTuple):
    """A `Channel`. address: whether it has one of its own."""

    pk: int
    kind: str
    address: bool
    enabled: bool
    unsubscribed_at: datetime | None
    set_aside_at: datetime | None
    set_aside_because: str
    waits_since: datetime | None


class Settled(NamedTuple):
    """What becomes of a reminder."""

    id: int
    state: str
    held_until: datetime | None
    reason: str


class NewDelivery(NamedTuple):
    """A message that is to be sent, with the ids of the reminders in it."""

    channel_id: int
    recipient_id: int
    layout: str
    reminders: Sequence[int]


def read_by_index() -> None:
    """In this transaction: statistics that are older than a bulk load must lead no statement to read a whole table."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_INDEX)


def release(now: datetime) -> int:
    """What was held until now waits again. Returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_BY_INDEX)
        cursor.execute(_RELEASE, [now])
        return int(cursor.rowcount)


def alone() -> None:
    """In this transaction no scan writes the outbox: for whoever takes away what it would write for."""
    with connection.cursor() as cursor:
        cursor.execute(_ALONE, [_LOCK])


def claim(after: int, most: int) -> list[Waiting]:
    """What waits, locked, person by person from the one after number `after` on; in a transaction of the caller's."""
    with connection.cursor() as cursor:
        cursor.execute(_ALONE_BY_INDEX, [_LOCK])
        cursor.execute(_CLAIM, {"after": after, "batch": most})
        return [Waiting(*row) for row in cursor.fetchall()]


def waiting_people() -> list[int]:
    """Whose reminders wait, each as often as there are such."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT recipient_id FROM reminders_reminder WHERE state = 'due'")
        return [row[0] for row in cursor.fetchall()]


def urgent_among(todos: Collection[int]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(_URGENT, [numbers(todos), Priority.URGENT])
        return {row[0] for row in cursor.fetchall()}


def people(ids: Collection[int]) -> list[Account]:
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE, [numbers(ids)])
        return [Account(row[0], row[1], Habits(*row[3:]) if row[2] else None) for row in cursor.fetchall()]


def channels(people: Collection[int]) -> dict[int, list[Way]]:
    """By person, in their order; of who has none, none."""
    found: dict[int, list[Way]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_CHANNELS, [numbers(people)])
        for row in cursor.fetchall():
            found[row[0]].append(Way(*row[1:]))
    return found


def store(settled: Sequence[Settled], deliveries: Sequence[NewDelivery], now: datetime) -> None:
    """Write what became of claimed reminders, and the deliveries that they are in."""
    with connection.cursor() as cursor:
        sent = [one.id for one in settled if one.state == ReminderState.OUTBOX]
        if sent:
            cursor.execute(_SETTLE_ALIKE, [ReminderState.OUTBOX, numbers(sent)])
        kept = [one for one in settled if one.state != ReminderState.OUTBOX]
        if kept:
            cursor.execute(_SETTLE, [list(column) for column in zip(*kept, strict=True)])
        if not deliveries:
            return
        cursor.execute(_NUMBERS, [len(deliveries)])
        ids = [row[0] for row in cursor.fetchall()]
        of = [(number, one) for number, new in zip(ids, deliveries, strict=True) for one in new.reminders]
        values: dict[str, Any] = {
            "now": now,
            "ids": numbers(ids),
            "channels": numbers(new.channel_id for new in deliveries),
            "recipients": numbers(new.recipient_id for new in deliveries),
            "layouts": "{" + ",".join(new.layout for new in deliveries) + "}",
            "of": numbers(number for number, _ in of),
            "reminders": numbers(one for _, one in of),
        }
        cursor.execute(_WRITE, values)


def numbers(values: Iterable[int]) -> str:
    """An array in Postgres' own notation: the driver's way of one takes ten times as long."""
    return "{" + ",".join(map(str, values)) + "}"


def claim_unsent(most: int) -> list[tuple[int, str]]:
    """Deliveries that have no job yet, locked, with the kind of their channel; another scan's are left to it."""
    with connection.cursor() as cursor:
        cursor.execute(_UNSENT, [most])
        return cursor.fetchall()


def note_jobs(deliveries: Sequence[int], jobs: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_JOBS, [list(deliveries), list(jobs)])
