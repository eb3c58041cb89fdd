"""Keeps all workers together within what a far side allows, and leaves it alone for as long as it asks.

Each limit is a generic cell rate (GCRA): `burst` at once, then one every `spacing_seconds`; so no more than
burst + seconds / spacing_seconds in any stretch of time. Postgres' clock counts, and its rows are the only memory.
Call it outside of transactions: a row stays locked to their end.
Source: ITU-T I.371 (GCRA); docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api (secondary limits).
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction

from jobs import Snooze

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

# A wait as short as this is waited for in place; for a longer one the job is postponed.
PATIENCE_SECONDS = 5.0
GITHUB_KEY = "github:"


class Throttled(Snooze):
    """The far side is to be left alone. Raised in a job, the job runs again after that, and no attempt is used."""

    def __init__(self, seconds: float, why: str, key: str = "") -> None:
        super().__init__(seconds, why)
        self.key = key

    def __str__(self) -> str:
        return f"{self.why}; again in {self.seconds:.0f} s"


@dataclass(frozen=True)
class Limit:
    """name: ends the key of its row. cost: how many of its units one call uses."""

    name: str
    spacing_seconds: float
    burst: int
    cost: int = 1


# GitHub: 900 points a minute, of which a read is 1 and a write 5.
GITHUB_READ = (Limit("points", spacing_seconds=0.1, burst=300),)
# 80 writes a minute and 500 an hour, a second apart when there are many; a review's first few need not wait.
GITHUB_WRITE = (
    Limit("points", spacing_seconds=0.1, burst=300, cost=5),
    Limit("write", spacing_seconds=1.0, burst=4),
    Limit("write-hour", spacing_seconds=9.0, burst=100),
)


@dataclass(frozen=True)
class _Row:
    full_at: datetime | None
    closed_until: datetime | None
    reason: str


def spend(
    key: str,
    *,
    write: bool = False,
    limits: Iterable[Limit] | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Take one call out of what `key` is allowed, and wait for its turn. Raises Throttled, and takes nothing.

    key: such as `github:installation:12` or `llm:anthropic`. limits: those of GitHub for its keys; for others, none:
    then it is only asked whether `close` was called.
    """
    if limits is None:
        limits = (GITHUB_WRITE if write else GITHUB_READ) if key.startswith(GITHUB_KEY) else ()
    wait = _take(key, tuple(limits), patience_seconds)
    if wait > 0:
        time.sleep(wait)


def close(key: str, seconds: float, reason: str) -> None:
    """Let nobody call until so many seconds are over: the far side asked for it."""
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, [key, seconds, reason[:300]])


def closed_for(key: str) -> float:
    """Seconds until `key` may be called again; 0 when it may be."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT, [key])
        row = cursor.fetchone()
    return float(row[0]) if row else 0.0


def _take(key: str, limits: tuple[Limit, ...], patience_seconds: float) -> float:
    """Reserve one call; how many seconds from now."""
    if not limits:
        left = closed_for(key)
        if left > patience_seconds:
            raise Throttled(left, _reason_of(key), key)
        return left
    alone = not connection.in_atomic_block
    keys = [f"{key}:{limit.name}" for limit in limits]
    with transaction.atomic(), connection.cursor() as cursor:
        if alone:  # what a crash forgets of it is milliseconds old
            cursor.execute("SET LOCAL synchronous_commit TO off")
        rows = _lock(cursor, [key, *keys])
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        full = [rows[name].full_at for name in keys]
        turn, why = _turn(key, rows[key], limits, full, now)
        wait = (turn - now).total_seconds()
        if wait > patience_seconds:
            raise Throttled(wait, why, key)
        cursor.execute(_FILL, [keys, [_filled(limit, at, turn) for limit, at in zip(limits, full, strict=True)]])
    return wait


def _turn(
    key: str, closing: _Row, limits: tuple[Limit, ...], full: list[datetime | None], now: datetime
) -> tuple[datetime, str]:
    """When the next call may be made, and what it has to wait for."""
    turn, why = now, ""
    if closing.closed_until and closing.closed_until > now:
        turn, why = closing.closed_until, closing.reason
    for limit, full_at in zip(limits, full, strict=True):
        room = full_at and full_at - timedelta(seconds=limit.spacing_seconds * (limit.burst - limit.cost))
        if room and room > turn:
            turn, why = room, f"{key} has used up what it may do ({limit.name})"
    return turn, why


def _filled(limit: Limit, full_at: datetime | None, turn: datetime) -> datetime:
    return max(full_at or turn, turn) + timedelta(seconds=limit.spacing_seconds * limit.cost)


def _lock(cursor: "CursorWrapper", keys: list[str]) -> dict[str, _Row]:
    """Lock the rows of these keys, always in the same order; those that are not there are made."""
    cursor.execute(_HOLD, [keys])
    rows = cursor.fetchall()
    if len(rows) < len(keys):
        cursor.execute(_MAKE, [sorted(keys)])
        cursor.execute(_HOLD, [keys])
        rows = cursor.fetchall()
    return {key: _Row(*rest) for key, *rest in rows}


def _reason_of(key: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT reason FROM reviews_outsidelimit WHERE key = %s", [key])
        row = cursor.fetchone()
    return (row[0] if row else "") or f"{key} is to be left alone"


_HOLD = """
    SELECT key, full_at, closed_until, reason FROM reviews_outsidelimit WHERE key = ANY(%s) ORDER BY key FOR UPDATE
"""
_MAKE = "INSERT INTO reviews_outsidelimit (key, reason) SELECT unnest(%s::text[]), '' ON CONFLICT DO NOTHING"
_FILL = """
    UPDATE reviews_outsidelimit AS held SET full_at = taken.full_at
    FROM unnest(%s::text[], %s::timestamptz[]) AS taken (key, full_at) WHERE held.key = taken.key
"""
_CLOSE = """
    INSERT INTO reviews_outsidelimit AS held (key, closed_until, reason)
    VALUES (%s, clock_timestamp() + %s * interval '1 second', %s)
    ON CONFLICT (key) DO UPDATE SET
        closed_until = GREATEST(held.closed_until, excluded.closed_until), reason = excluded.reason
"""
_LEFT = """
    SELECT GREATEST(extract(epoch FROM closed_until - clock_timestamp())::float8, 0)
    FROM reviews_outsidelimit WHERE key = %s AND closed_until IS NOT NULL
"""
