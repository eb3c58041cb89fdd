"""What idle workers ask of Postgres, counted in the server's own log."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.bench.stack import BenchError, Stack

LANES = ("default", "fast_lane", "slow_lane", "index_lane")
READY_SECONDS, SETTLE_SECONDS, WATCH_SECONDS = 60.0, 5.0, 20.0
_STATEMENT = (b"LOG:  statement:", b"LOG:  execute ")


def statements_per_s(stack: Stack, watch_seconds: float = WATCH_SECONDS) -> float:
    """Statements a second of four workers without work, those that begin and end transactions included."""
    with _workers(stack):
        time.sleep(SETTLE_SECONDS)
        with _logged(stack):
            began, before = time.monotonic(), _count(stack)
            time.sleep(watch_seconds)
            return (_count(stack) - before) / (time.monotonic() - began)


@contextmanager
def _workers(stack: Stack) -> Iterator[None]:
    started = [stack.popen(["manage.py", "worker", lane], stack.data / f"rest-{lane}.log") for lane in LANES]
    try:
        _wait_for(stack, len(LANES))
        yield
    finally:
        for process in started:
            os.kill(process.pid, signal.SIGTERM)
        for process in started:
            process.wait(60)


def _wait_for(stack: Stack, count: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with stack.connect() as connection:
        while time.monotonic() < deadline:
            row = connection.execute(
                "SELECT count(*) FROM jobs_worker WHERE stopped_at IS NULL AND heartbeat_at > now() - interval '10 s'"
            ).fetchone()
            if row is not None and row[0] >= count:
                return
            time.sleep(0.2)
    raise BenchError(f"{count} workers did not start within {READY_SECONDS:g} s")


@contextmanager
def _logged(stack: Stack) -> Iterator[None]:
    with stack.connect() as connection:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("SELECT pg_reload_conf()")
        time.sleep(0.5)
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET log_statement")
            connection.execute("SELECT pg_reload_conf()")


def _count(stack: Stack) -> int:
    text = (stack.data / "servers.log").read_bytes()
    return sum(text.count(marker) for marker in _STATEMENT)
