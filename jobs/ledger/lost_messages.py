"""Finds messages that were sent and never reach a worker: the broker was wiped or restarted, or lost a single one."""

import logging
from datetime import datetime, timedelta
from typing import Any

from celery import current_app

from jobs.lanes import QUEUES
from jobs.ledger import broker, states
from jobs.ledger.ageing import MOST_URGENT
from jobs.ledger.lease import LEASE_SECONDS
from jobs.ledger.sweeps import Connection, Turn

logger = logging.getLogger(__name__)

#: How long a message may take to its claim before its lane is looked at.
GRACE_SECONDS = 8.0
#: A sender marks a group of messages as sent after the last of them, so the times of two may be swapped by so much.
SKEW = timedelta(seconds=2)
BATCH = 1000
STATE_NAME = "broker"
_LIMITS: dict[str, Any] = {"grace_seconds": GRACE_SECONDS, "lease_seconds": LEASE_SECONDS, "limit": BATCH}


def watch_broker(connection: Connection, turn: Turn) -> int:
    """Compare the broker's epoch and run id with what they were; if they changed, every message is sent again.

    Sending again is always safe: the claim drops what comes twice. Raises kombu's OperationalError while it is away.
    """
    with connection.cursor() as cursor:
        before = _stored(cursor)
    current = broker.epoch(current_app._get_current_object(), before[0] if before else "")
    if current == before:
        return 0
    # In this order: whoever dies in between leaves the change to be noticed by the next.
    owed = _owe_all(connection, turn.now) if before else 0
    _store(connection, before, current)
    return owed


def _stored(cursor: Any) -> tuple[str, str] | None:
    cursor.execute("SELECT epoch, run_id FROM jobs_brokerstate WHERE name = %s", [STATE_NAME])
    row = cursor.fetchone()
    return (row[0], row[1]) if row else None


def _store(connection: Connection, before: tuple[str, str] | None, current: tuple[str, str]) -> None:
    """Note the change, unless another process was first."""
    connection.execute(
        """
        INSERT INTO jobs_brokerstate AS b (name, epoch, run_id, changed_at) VALUES (%s, %s, %s, clock_timestamp())
        ON CONFLICT (name) DO UPDATE
        SET epoch = EXCLUDED.epoch, run_id = EXCLUDED.run_id, changed_at = EXCLUDED.changed_at
        WHERE (b.epoch, b.run_id) = (%s, %s)
        """,
        [STATE_NAME, *current, *(before or current)],
    )


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
        found = states.resend_lost(cursor, overtaken, "a later one of its lane is being run already", **_LIMITS)
        empty = {
            lane: None
            for lane, waiting in broker.waiting(current_app._get_current_object(), _lanes()).items()
            if not waiting
        }
        found += states.resend_lost(cursor, empty, "the broker holds no message of its lane any more", **_LIMITS)
    if found:
        logger.warning("%d messages were lost and are sent again", len(found))
    return len(found)


def _lanes() -> list[tuple[str, int]]:
    """Every queue with every priority that it may hold, that of a job that has waited for long included."""
    return [
        (queue.name, priority)
        for queue in QUEUES.values()
        for priority in {*range(queue.band[0], queue.band[1] + 1), MOST_URGENT}
    ]
