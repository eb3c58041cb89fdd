"""Sends what is due or was never sent. One runs in every worker; rows are taken with SKIP LOCKED, so any number may."""

import logging
import random
import threading
from typing import Any

import psycopg
from celery import current_app

from jobs.ledger import states
from jobs.ledger.connection import LedgerConnection
from jobs.ledger.publisher import publish

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
BATCH = 100
#: How long the sender's own process has to hand a message over before a dispatcher does.
UNSENT_GRACE_SECONDS = 1.0
EXPIRY_EVERY_TICKS = 5


class Dispatcher(threading.Thread):
    """Looks once a second, and again at once while there is more to send than fits a batch."""

    def __init__(self) -> None:
        super().__init__(name="ledger-dispatcher", daemon=True)
        self.connection = LedgerConnection(durable=True)
        self.stopping = threading.Event()
        self._ticks = 0

    def stop(self) -> None:
        self.stopping.set()

    def run(self) -> None:
        pause = TICK_SECONDS
        while not self.stopping.is_set():
            try:
                more = self.tick() == BATCH
                pause = TICK_SECONDS
            except Exception as exc:
                # Postgres or the broker is away. What is owed stays owed; only the log must not fill up.
                logger.warning("Dispatching waits: %s: %s", type(exc).__name__, str(exc).strip()[:200])
                more = False
                pause = min(pause * 2, 5.0)
            if not more:
                self.stopping.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311  (spreads load)

    def tick(self) -> int:
        """Send one batch. Returns how many messages went out; raises when Postgres or the broker is away."""
        self._ticks += 1
        if self._ticks % EXPIRY_EVERY_TICKS == 1:
            self.connection.use(_discard_expired)
        return self.connection.use(_send_batch)


def _send_batch(connection: psycopg.Connection[Any]) -> int:
    """Promote what is due, then send what is owed.

    While rows are being sent they stay locked: a death in between leaves them owed, and a claim waits for the commit.
    """
    with connection.cursor() as cursor:
        if not states.is_anything_owed(cursor, UNSENT_GRACE_SECONDS):
            return 0
        promoted = states.promote_due(cursor, BATCH)
    with connection.transaction(), connection.cursor() as cursor:
        rows = states.lock_owed(cursor, promoted=promoted, limit=BATCH, grace_seconds=UNSENT_GRACE_SECONDS)
        if rows:
            with current_app.producer_pool.acquire(block=True, timeout=5) as producer:
                sent = [row for row in rows if _publish(cursor, producer, row)]
            states.mark_sent(cursor, [(row["id"], row["attempt"]) for row in sent])
    return len(rows)


def _publish(cursor: states.Cursor, producer: Any, row: dict[str, Any]) -> bool:
    """Send one message. Raises when the broker is away; a row of which no message can be made fails by itself."""
    try:
        publish(producer, row)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        logger.exception("No message can be made of job %s", row["id"])
        states.fail_waiting(cursor, row["id"], f"no message can be made of it: {type(exc).__name__}: {exc}"[:500])
        return False
    return True


def _discard_expired(connection: psycopg.Connection[Any]) -> None:
    with connection.cursor() as cursor:
        expired = states.discard_expired(cursor)
    if expired:
        logger.info("%d jobs expired before they could run", len(expired))
