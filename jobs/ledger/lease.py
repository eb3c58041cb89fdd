"""How long a worker's claims hold without a sign of life, and how much of that is left.

A worker's main process writes the time of each heartbeat, on the monotonic clock that all processes of a machine
share, into memory that it shares with its children. So a child knows, without asking anybody, until when others
will leave its job alone.
"""

import mmap
import struct
import time

from django.conf import settings

#: A worker that has not reported for so long is taken for dead, and its jobs run elsewhere.
LEASE_SECONDS = float(settings.JOBS["LEASE_SECONDS"])
HEARTBEAT_SECONDS = LEASE_SECONDS / 4
#: Taken off what is left: clocks of two machines run apart, and a statement takes its time.
MARGIN_SECONDS = LEASE_SECONDS / 6

_shared: mmap.mmap | None = None


def clock() -> float:
    """Seconds on a clock that only runs forward, and goes on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def begin() -> None:
    """Share a lease with the children to be forked; called in a worker's main process before its pool starts."""
    global _shared
    _shared = mmap.mmap(-1, 8)


def renew(since: float) -> None:
    """Note a heartbeat that Postgres has taken. since: `clock()` before it was sent."""
    if _shared is not None:
        _shared[:8] = struct.pack("d", since)


def seconds_left() -> float:
    """How long others will surely leave this process' job alone; infinite outside of a worker, negative when over."""
    if _shared is None:
        return float("inf")
    (renewed,) = struct.unpack("d", _shared[:8])
    return float(renewed + LEASE_SECONDS - MARGIN_SECONDS - clock())
