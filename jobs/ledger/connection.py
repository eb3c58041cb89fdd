"""Postgres connections of the ledger's own, which Celery's Django fixup does not close around every task."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from django.db import connections

logger = logging.getLogger(__name__)
T = TypeVar("T")

# The server went away, or is starting or stopping: the work is still owed, so wait for it.
AWAY = (psycopg.OperationalError, psycopg.InterfaceError)

#: Between two attempts to reach Postgres or the broker: both are to be used again within seconds of their return.
LONGEST_PAUSE_SECONDS = 2.0
#: Somebody else's lock is waited for so long, and then again: the connection is free for others in between.
LOCK_SECONDS = 5
#: A process that is stopped in the middle of a transaction keeps its locks for so long. More than a group of messages
#: takes on its way to a slow broker, which a dispatcher sends while it holds their rows.
IDLE_IN_TRANSACTION_SECONDS = 15


# A plan made while the table was empty would read all of it for every job until the next ANALYZE.
_SETTINGS = f"""
    SET enable_seqscan = off;
    SET lock_timeout = '{LOCK_SECONDS}s';
    SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s'
"""

#: The same for a transaction of the ledger's on a connection that is Django's.
LOCAL_LIMITS = f"""
    SET LOCAL lock_timeout = '{LOCK_SECONDS}s';
    SET LOCAL idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s'
"""


@contextmanager
def impatient(connection: psycopg.Connection[tuple[Any, ...]], seconds: float) -> Iterator[None]:
    """A transaction that waits so long, and not for LOCK_SECONDS, for a lock. Raises LockNotAvailable."""
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds * 1000:.0f}ms"])
        yield


class LedgerConnection:
    """One lazily opened autocommit connection; safe to share between threads, one statement at a time.

    durable=False lets a commit return before it is on disk: right for a claim, which a crash may forget, because
    the job is then simply still queued.
    """

    def __init__(self, *, durable: bool) -> None:
        self._durable = durable
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._lock = threading.RLock()

    def use(self, work: Callable[[psycopg.Connection[tuple[Any, ...]]], T]) -> T:
        """Run `work` with the open connection. Raises psycopg's errors; after one of AWAY the next call reconnects."""
        with self._lock:
            connection = self._open()
            try:
                return work(connection)
            except psycopg.errors.LockNotAvailable:
                raise
            except AWAY:
                self.close()
                raise

    def insist(self, work: Callable[[psycopg.Connection[tuple[Any, ...]]], T], *, also_for_locks: bool = True) -> T:
        """Like `use`, but wait for Postgres for as long as it is away.

        also_for_locks: and for rows that somebody else holds; else LockNotAvailable is raised after LOCK_SECONDS.
        """
        pause = 0.05
        while True:
            try:
                return self.use(work)
            except psycopg.errors.LockNotAvailable:
                if not also_for_locks:
                    raise
            except AWAY as exc:
                if pause > 1:
                    logger.warning("Postgres is away (%s); trying again in %.0f s", str(exc).strip()[:200], pause)
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            parameters = {
                key: value
                for key, value in connections["default"].get_connection_params().items()
                if key not in {"cursor_factory", "context", "prepare_threshold"}
            }
            self._connection = psycopg.connect(**parameters, autocommit=True)
            self._connection.execute(_SETTINGS)
            if not self._durable:
                self._connection.execute("SET synchronous_commit = off")
        return self._connection


_of_this_process: dict[tuple[int, str], LedgerConnection] = {}


def claims() -> LedgerConnection:
    """For claims and progress."""
    return _named("claims", durable=False)


def finishes() -> LedgerConnection:
    """For the flusher's finishes, which are on disk before they count."""
    return _named("finishes", durable=True)


def effects() -> LedgerConnection:
    """For what is known of outside effects, which is on disk before anything is tried."""
    return _named("effects", durable=True)


def _named(name: str, *, durable: bool) -> LedgerConnection:
    # By process id: a connection opened before a fork belongs to the parent.
    key = (os.getpid(), name)
    if key not in _of_this_process:
        _of_this_process[key] = LedgerConnection(durable=durable)
    return _of_this_process[key]
