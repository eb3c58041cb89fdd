"""Beat's scheduler: django-celery-beat's tables, each tick in one transaction with its job.

Any number of beats may run: each takes what is due out of Postgres (`jobs.schedules.ticking`) and holds nothing in
memory, so one that dies leaves nothing behind, and the others send its next tick.
"""

import logging
import os
import socket
import time
from typing import Any

import psycopg
from celery.beat import Scheduler
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from jobs.ledger.connection import LedgerConnection
from jobs.ledger.lease import HEARTBEAT_SECONDS
from jobs.registry import load_tasks
from jobs.schedules import defaults, ticking
from jobs.worker.heartbeat import leave, memory_bytes, report

logger = logging.getLogger(__name__)

AWAY_SECONDS = 1.0


class LedgerScheduler(Scheduler):
    """Sends schedules that are due, as their rows say, and sleeps until the next is."""

    #: Edits are noticed within this time.
    max_interval = ticking.LONGEST_WAIT_SECONDS
    _reported_at = -HEARTBEAT_SECONDS
    _has_left = False
    _has_stored_defaults = False

    def setup_schedule(self) -> None:
        """Load the tasks; nothing else is kept in memory."""
        load_tasks()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One look. Returns how many seconds to sleep."""
        close_old_connections()
        try:
            self._report()
            self._store_defaults()
            return ticking.tick()
        except (OperationalError, InterfaceError) as exc:
            logger.warning("Schedules wait for Postgres: %s", str(exc).strip()[:200])
        except Exception:
            logger.exception("Schedules could not be looked at; trying again")
        connection.close()
        return AWAY_SECONDS

    def sync(self) -> None:
        """Each tick has been written in its job's transaction."""

    def _store_defaults(self) -> None:
        if not self._has_stored_defaults:
            defaults.store()
            self._has_stored_defaults = True

    def close(self) -> None:
        """Note the leaving, once.

        On a connection of its own: Celery calls this from a signal handler, perhaps in the middle of a statement on
        Django's, which would then wait for itself.
        """
        super().close()
        if self._has_left:
            return
        self._has_left = True
        own = LedgerConnection(durable=False)
        try:
            own.use(self._leave)
        except psycopg.Error as exc:
            logger.warning("Beat's leaving could not be written: %s", str(exc).strip()[:200])
        finally:
            own.close()

    def _leave(self, own: psycopg.Connection[tuple[Any, ...]]) -> None:
        with own.cursor() as cursor:
            leave(cursor, self._node_name)

    @property
    def _node_name(self) -> str:
        return f"beat-{os.getpid()}@{socket.gethostname()}"

    def _report(self) -> None:
        """A beat shows among the workers, without queues."""
        now = time.monotonic()
        if now - self._reported_at >= HEARTBEAT_SECONDS:
            with connection.cursor() as cursor:
                report(cursor, name=self._node_name, queues=[], children=0, memory=memory_bytes())
            self._reported_at = now
