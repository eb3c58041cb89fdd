"""How long one beat takes to send many schedules that fall due at once."""

import time

from jobs.bench.drain import forget_all
from jobs.bench.stack import BenchError, Stack

COUNT = 10_000
TIMEOUT_SECONDS = 300
POLL_SECONDS = 0.05
TASK = "selftest.echo"

_FILL = """
    WITH hourly AS (INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (1, 'hours') RETURNING id)
    INSERT INTO django_celery_beat_periodictask (name, task, args, kwargs, headers, enabled, one_off, total_run_count,
                                                 date_changed, description, interval_id)
    SELECT 'bench ' || n, %s, '[1]', '{}', '{}', true, false, 0, now(), '', hourly.id
    FROM generate_series(1, %s) AS n, hourly
"""
_READY = "SELECT count(*) FROM jobs_schedulepolicy WHERE NOT stale AND next_run_at > now()"
# The last full hour is a due time of theirs.
_FALL_DUE = "UPDATE jobs_schedulepolicy SET next_run_at = date_trunc('hour', now())"
_SENT = "SELECT count(*) FROM jobs_job WHERE origin = 'schedule'"


def fire_seconds(stack: Stack, count: int) -> float:
    """Seconds from when `count` schedules fall due until one beat has inserted the job of each.

    Raises BenchError if that takes longer than five minutes, or jobs are missing or too many.
    """
    forget_all(stack)
    with stack.connect() as connection:
        connection.execute("DELETE FROM jobs_scheduledefault")
        connection.execute("TRUNCATE django_celery_beat_periodictask CASCADE")
        connection.execute(_FILL, [TASK, count])
    beat = ["-m", "celery", "-A", "config", "beat", "-l", "WARNING", "--pidfile="]
    try:
        with stack.process(beat, stack.data / "beat.log"):
            _wait_for(stack, _READY, count)
            with stack.connect() as connection:
                connection.execute(_FALL_DUE)
            began = time.perf_counter()
            _wait_for(stack, _SENT, count)
            return time.perf_counter() - began
    finally:
        with stack.connect() as connection:
            connection.execute("TRUNCATE django_celery_beat_periodictask, jobs_scheduletick CASCADE")
        forget_all(stack)


def _wait_for(stack: Stack, query: str, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with stack.connect() as connection:
        while True:
            row = connection.execute(query.encode()).fetchone()
            found = row[0] if row else 0
            if found >= count:
                break
            if time.monotonic() > deadline:
                raise BenchError(f"{found} of {count} after {TIMEOUT_SECONDS} s")
            time.sleep(POLL_SECONDS)
