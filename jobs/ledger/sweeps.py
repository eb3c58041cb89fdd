"""Periodic looks that all dispatchers share: whoever moves a sweep's time on does it, so none depends on one process.

A process that freezes in the middle has moved the time on already; the next one is another's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Turn:
    """One turn of a sweep. now: by Postgres' clock; calm: how long it has been done without a gap.

    A gap tells that Postgres, or every dispatcher, was away.
    """

    now: datetime
    calm: timedelta


@dataclass(frozen=True)
class Sweep:
    name: str
    every_seconds: float
    function: Callable[[Connection, Turn], int]


_registered: dict[str, Sweep] = {}


def register(name: str, *, every_seconds: float, function: Callable[[Connection, Turn], int]) -> None:
    """Have every dispatcher take turns in calling `function` with its own autocommit connection.

    It returns how many jobs are owed a message because of what it found.
    """
    _registered[name] = Sweep(name, every_seconds, function)


def count() -> int:
    return len(_registered)


def prepare(connection: Connection) -> None:
    """Make sure that every registered sweep has its row."""
    for name in _registered:
        connection.execute(
            """
            INSERT INTO jobs_sweep (name, due_at, last_at, calm_since)
            VALUES (%s, clock_timestamp(), clock_timestamp(), clock_timestamp()) ON CONFLICT DO NOTHING
            """,
            [name],
        )


_TAKE_TURN = """
    UPDATE jobs_sweep SET
        due_at = clock_timestamp() + make_interval(secs => %(every)s),
        calm_since = CASE WHEN last_at < clock_timestamp() - make_interval(secs => %(every)s * 2 + 3)
                          THEN clock_timestamp() ELSE calm_since END,
        last_at = clock_timestamp()
    WHERE name = %(name)s AND due_at <= clock_timestamp()
    RETURNING last_at, last_at - calm_since
"""


def run(connection: Connection, name: str) -> int:
    """Do one sweep, unless another process was first or it is not known here. Returns how many jobs it found owed."""
    sweep = _registered.get(name)
    if sweep is None:
        return 0
    row = connection.execute(_TAKE_TURN, {"name": name, "every": sweep.every_seconds}).fetchone()
    return sweep.function(connection, Turn(*row)) if row is not None else 0
