"""Tasks that only a drill's own system knows: its processes are started with TASK_MODULES naming this module."""

import ctypes
import os
import sys
import time
from typing import Any

from jobs import job

ATTEMPTS = 4
BACKOFF_SECONDS = 0.3
MIB = 1024 * 1024


@job(name="drill.part", max_attempts=ATTEMPTS, backoff_seconds=BACKOFF_SECONDS)
def part(value: int, seconds: float = 0.0) -> int:
    """Return the value, as a part of a chain or a chord."""
    time.sleep(seconds)
    return value


@job(name="drill.join", max_attempts=ATTEMPTS, backoff_seconds=BACKOFF_SECONDS)
def join(values: list[int], expected: list[int]) -> int:
    """Add up a chord's results; fails at once unless they are exactly the expected ones."""
    if sorted(values) != sorted(expected):
        raise ValueError(f"the chord brought {values} instead of {expected}")
    return sum(values)


@job(
    name="drill.only",
    max_attempts=ATTEMPTS,
    backoff_seconds=BACKOFF_SECONDS,
    unique=lambda key, seconds=0.0: f"drill:{key}",
)
def only(key: str, seconds: float = 0.0) -> str:
    """One unfinished job a key."""
    time.sleep(seconds)
    return key


@job(name="drill.tick", max_attempts=ATTEMPTS, backoff_seconds=BACKOFF_SECONDS)
def tick(schedule: str, note: str = "") -> str:
    """What the drill's schedules send."""
    return f"{schedule} {note}"


@job(name="drill.die", max_attempts=ATTEMPTS, backoff_seconds=BACKOFF_SECONDS)
def die(how: str) -> None:
    """End badly: by MemoryError, sys.exit, a segmentation fault or os._exit."""
    if how == "memory_error":
        raise MemoryError
    if how == "system_exit":
        sys.exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os._exit(3)


@job(name="drill.fill_memory", max_attempts=ATTEMPTS, backoff_seconds=BACKOFF_SECONDS)
def fill_memory(mib: int, seconds: float, limited: bool = False) -> int:
    """Take memory bit by bit over some seconds. limited: under a limit of the process' own, on its first run."""
    from jobs.ledger.run import current_run

    run = current_run()
    if limited and run is not None and run.attempt == 1:
        _limit(mib * MIB // 2)
    taken: list[Any] = []
    for _ in range(mib // 8):
        taken.append(bytearray(os.urandom(MIB) * 8))
        time.sleep(seconds / (mib / 8))
    return len(taken) * 8


def _limit(more: int) -> None:
    import resource

    import psutil

    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))
