"""Sends what is due or was never sent, and takes turns in the sweeps that find what was lost.

One runs in every worker; rows are taken with SKIP LOCKED, so any number may.
"""

import logging
import random
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from celery import current_app
from django.db import close_old_connections
from django.db import connection as django_connection

from jobs.ledger import ageing, broker, effects, limits, lost_messages, pauses, rescue, states, sweeps, workflow
from jobs.ledger.admission import admit_all
from jobs.ledger.connection import AWAY, LONGEST_PAUSE_SECONDS, LedgerConnection
from jobs.ledger.publisher import publish
from jobs.ledger.window import Windows

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
BATCH = 100
#: How long the sender's own process has to hand a message over before a dispatcher does.
UNSENT_GRACE_SECONDS = 1.0

sweeps.register("workers", every_seconds=2.0, function=rescue.sweep)
sweeps.register("broker", every_seconds=1.0, function=lost_messages.watch_broker)
sweeps.register("messages", every_seconds=2.0, function=lost_messages.sweep)
sweeps.register("effects", every_seconds=10.0, function=effects.sweep)
sweeps.register("ageing", every_seconds=ageing.EVERY_SECONDS, function=ageing.sweep)


class Dispatcher(threading.Thread):
    """Looks once a second, and again at once while there is more to send than fits a batch."""

    def __init__(self) -> None:
        super().__init__(name="ledger-dispatcher", daemon=True)
        self.connection = LedgerConnection(durable=True)
        self.stopping = threading.Event()
        self.windows = Windows()

    def stop(self) -> None:
        self.stopping.set()

    def run(self) -> None:
        pause = TICK_SECONDS
        while not self.stopping.is_set():
            try:
                self.windows.pause = None
                more = self.tick() >= BATCH
                pause = self.windows.pause or TICK_SECONDS
            except Exception as exc:
                # Postgres or the broker is away. What is owed stays owed; only the log must not fill up.
                logger.warning("Dispatching waits: %s: %s", type(exc).__name__, str(exc).strip()[:200])
                django_connection.close()
                more = False
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            if not more:
                self.stopping.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311  (spreads load)

    def tick(self) -> int:
        """Send one batch. Returns how many messages went out; raises when Postgres or the broker is away."""
        owed = self.connection.use(_look)
        if owed.sweep_count < sweeps.count():
            self.connection.use(sweeps.prepare)
        pauses.note_paused(owed.paused)
        self.connection.use(pauses.hold_turned_away)
        found = sum(self._sweep(name) for name in owed.due_sweeps)
        ids = self._let_through(only_if_due=True) if owed.is_anything_held else []
        if not (owed.is_sending_owed or found or ids):
            return 0
        sent, was_held = self.connection.use(lambda connection: _send_batch(connection, ids, self.windows))
        if was_held and (ids := self._let_through()):
            sent += self.connection.use(lambda connection: _send_batch(connection, ids, self.windows))[0]
        return sent

    def _let_through(self, *, only_if_due: bool = False) -> list[str]:
        """Ids of held jobs that may start now. Somebody who is at it for long must not keep the rest waiting."""
        try:
            return self.connection.use(lambda connection: admit_all(connection, only_if_due=only_if_due))
        except AWAY as exc:
            logger.warning("Limits wait: %s: %s", type(exc).__name__, str(exc).strip()[:200])
            return []

    def _sweep(self, name: str) -> int:
        """Do one sweep. One that cannot be done, with the broker away for example, must not keep the others."""
        try:
            return self.connection.use(lambda connection: sweeps.run(connection, name))
        except AWAY:
            raise
        except Exception as exc:
            logger.warning("The sweep %s waits: %s: %s", name, type(exc).__name__, str(exc).strip()[:200])
            return 0


def _look(connection: psycopg.Connection[Any]) -> states.Owed:
    with connection.cursor() as cursor:
        return states.look(cursor, UNSENT_GRACE_SECONDS)


def _send_batch(connection: psycopg.Connection[Any], ids: Sequence[str], windows: Windows) -> tuple[int, bool]:
    """Promote what is due, then send what is owed, and of `ids` what may be. Returns how many were dealt with.

    And whether any was held instead, because it may not start yet.

    A row is marked as sent before its message goes out, and no lock is held meanwhile: a broker that hangs keeps nobody
    waiting who wants to change these jobs. A death in between leaves a message that is missing, as a broker does that
    loses one, and is noticed like that.
    """
    with connection.cursor() as cursor:
        promoted = [*states.promote_due(cursor, BATCH), *ids]
    # Asked first, so that nothing is marked in vain, a hundred rows at each look.
    state = broker.state(current_app)
    if state.startswith("away"):
        raise ConnectionError(f"the broker is {state}")
    with connection.transaction(), connection.cursor() as cursor:
        if broker.is_rabbitmq():
            rows = windows.take(cursor)
        else:
            rows = states.lock_owed(cursor, promoted=promoted, limit=BATCH, grace_seconds=UNSENT_GRACE_SECONDS)
        blocked = [row["id"] for row in rows if row["is_blocked"]]
        was_held = bool(blocked and limits.hold(cursor, blocked))
        free = [row for row in rows if not row["is_blocked"]]
        states.mark_sent(cursor, [(row["id"], row["attempt"]) for row in free])
    _publish_all(connection, free)
    return len(rows), was_held


def _publish_all(connection: psycopg.Connection[Any], rows: list[dict[str, Any]]) -> None:
    """Send the messages of rows that are marked as sent; what cannot go out is owed again."""
    unsent = [row["id"] for row in rows]
    try:
        if rows:
            with current_app.producer_pool.acquire(block=True, timeout=5) as producer:
                for row in rows:
                    _publish(connection, producer, row)
                    unsent.remove(row["id"])
    finally:
        if unsent:
            with connection.cursor() as cursor:
                states.mark_unsent(cursor, unsent)


def _publish(connection: psycopg.Connection[Any], producer: Any, row: dict[str, Any]) -> None:
    """Send one message. Raises when the broker is away; a row of which no message can be made fails by itself."""
    try:
        publish(producer, row)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        logger.exception("No message can be made of job %s", row["id"])
        error = f"no message can be made of it: {type(exc).__name__}: {exc}"[:500]
        with connection.cursor() as cursor:
            states.fail_waiting(cursor, row["id"], error)


def _discard_expired(connection: psycopg.Connection[Any], turn: sweeps.Turn) -> int:
    with connection.cursor() as cursor:
        expired = states.discard_expired(cursor)
    if expired:
        logger.info("%d jobs expired before they could run", len(expired))
    return 0


sweeps.register("expiry", every_seconds=5.0, function=_discard_expired)


def _look_at_chords(connection: psycopg.Connection[Any], turn: sweeps.Turn) -> int:
    close_old_connections()
    workflow.look_at_open_chords()
    return 0


sweeps.register("chords", every_seconds=5.0, function=_look_at_chords)
