"""Finds messages that were sent and never reach a worker: the broker was wiped or restarted, or lost a single one."""

import logging
import uuid
from datetime import datetime, timedelta

import psycopg
from celery import current_app

from jobs.lanes import QUEUES
from jobs.ledger import broker, states
from jobs.ledger.lease import LEASE_SECONDS
from jobs.ledger.sweeps import Connection, Turn

logger = logging.getLogger(__name__)

#: How long a message may take to its claim before its lane is looked at.
GRACE_SECONDS = 8.0
#: A sender marks a group of messages as sent after the last of them, so the times of two may be swapped by so much.
SKEW = timedelta(seconds=2)
BATCH = 1000
STATE_NAME = "broker"

_known: tuple[str, str] | None = None


def watch_broker(connection: Connection, turn: Turn) -> int:
    """Compare the broker's epoch and run id with what they were; if they changed, every message is sent again.

    Sending again is always safe: the claim drops what comes twice. Raises kombu's OperationalError while it is away.
    """
    global _known
    current = broker.epoch(current_app)
    if current == _known:
        return 0
    with connection.transaction(), connection.cursor() as cursor:
        changed_at = _note_change(cursor, current)
    _known = current
    return _owe_all(connection, changed_at) if changed_at else 0


def _note_change(cursor: psycopg.Cursor[tuple[object, ...]], current: tuple[str, str]) -> datetime | None:
    """Store the broker's epoch and run id. Returns when, if another one was stored before."""
    cursor.execute("SELECT epoch, run_id FROM jobs_brokerstate WHERE name = %s FOR UPDATE", [STATE_NAME])
    before = cursor.fetchone()
    if before == current:
        return None
    cursor.execute(
        """
        INSERT INTO jobs_brokerstate (name, epoch, run_id, changed_at) VALUES (%s, %s, %s, clock_timestamp())
        ON CONFLICT (name) DO UPDATE
        SET epoch = EXCLUDED.epoch, run_id = EXCLUDED.run_id, changed_at = EXCLUDED.changed_at
        RETURNING changed_at
        """,
        [STATE_NAME, *current],
    )
    row = cursor.fetchone()
    return row[0] if before is not None and row is not None and isinstance(row[0], datetime) else None


def _owe_all(connection: Connection, changed_at: datetime) -> int:
    total = 0
    while True:
        with connection.cursor() as cursor:
            owed = states.owe_all_again(cursor, changed_at, BATCH)
        total += owed
        if owed < BATCH:
            break
    logger.warning("The broker was restarted or emptied; %d messages are sent again", total)
    return total


def sweep(connection: Connection, turn: Turn) -> int:
    """Find single lost messages: overtaken by a later one that is being run, or sent to a list that is empty."""
    with connection.cursor() as cursor:
        if not states.is_any_message_old(cursor, GRACE_SECONDS):
            return 0
        overtaken = {lane: sent_at - SKEW for lane, sent_at in states.latest_claimed(cursor).items() if sent_at}
        limits = {"grace_seconds": GRACE_SECONDS, "lease_seconds": LEASE_SECONDS, "limit": BATCH}
        found = states.resend_lost(cursor, overtaken, "a later one of its lane is being run already", **limits)
        empty = {lane: None for lane, waiting in broker.waiting(current_app, _lanes()).items() if not waiting}
        found += states.resend_lost(cursor, empty, "the broker holds no message of its lane any more", **limits)
    if found:
        logger.warning("%d messages were lost and are sent again", len(found))
    return len(found)


def _lanes() -> list[tuple[str, int]]:
    """Every queue with every priority that it may hold."""
    return [(queue.name, priority) for queue in QUEUES.values() for priority in range(queue.band[0], queue.band[1] + 1)]


def new_epoch() -> str:
    return uuid.uuid4().hex
