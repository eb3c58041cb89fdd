"""Locks that all hosts respect, held by Postgres no longer than their connection lives: a killed process lets go."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from django.db import DatabaseError, InterfaceError, connection

POLL_SECONDS = 0.2
_KEY = "hashtextextended(%s, 0)"


@contextmanager
def advisory_lock(name: str, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Hold a lock for the block; yields whether it was had within the wait.

    On a connection of its own, since a lock of the caller's would outlive a transaction that failed.
    """
    with closing(connection.copy()) as own, own.cursor() as cursor:
        deadline = time.monotonic() + wait_seconds
        while True:
            cursor.execute(f"SELECT pg_try_advisory_lock({_KEY})", [f"reviews {name}"])
            (is_held,) = cursor.fetchone()
            if is_held or time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        try:
            yield is_held
        finally:
            # Postgres ends a connection that was closed some time after that; the next to want the lock may be before.
            with suppress(DatabaseError, InterfaceError):
                if is_held:
                    cursor.execute(f"SELECT pg_advisory_unlock({_KEY})", [f"reviews {name}"])
