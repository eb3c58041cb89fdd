"""Workers on a benchmark's servers."""

import time

from jobs.bench.stack import BenchError, Stack

READY_SECONDS, POLL_SECONDS = 60.0, 0.2
_READY = "SELECT count(*) FROM jobs_worker WHERE stopped_at IS NULL AND heartbeat_at > now() - interval '10 s'"


def wait_ready(stack: Stack) -> None:
    """Until a worker is known to the ledger. Raises BenchError after a minute."""
    deadline = time.monotonic() + READY_SECONDS
    with stack.connect() as connection:
        while time.monotonic() < deadline:
            row = connection.execute(_READY).fetchone()
            if row is not None and row[0]:
                return
            time.sleep(POLL_SECONDS)
    raise BenchError(f"the worker did not start within {READY_SECONDS:g} s")
