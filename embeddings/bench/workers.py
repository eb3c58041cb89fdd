"""Real workers of the lane `embedding` on the benchmark's servers, and the jobs that they run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from embeddings.bench.children import ONE_THREAD
from jobs.bench import workers
from jobs.bench.stack import BenchError, Stack
from jobs.lanes import LANES

LANE = LANES["embedding"]
#: Not maintenance: a table that is fitted after the first run would take its time from what is measured.
QUEUES = ("embedding", "indexing")
JOB_SECONDS = 600.0
POLL_SECONDS = 0.05

_ENDED = """
    SELECT extract(epoch FROM b.finished_at - a.created_at) FROM jobs_job AS a, jobs_job AS b
    WHERE a.id = %(first)s AND b.id = %(last)s AND b.state = 'succeeded'
"""
_FAILED = "SELECT task, state, error FROM jobs_job WHERE state IN ('failed', 'cancelled', 'discarded') LIMIT 1"


@contextmanager
def worker(stack: Stack, children: int, **more: str) -> Iterator[int]:
    """A worker with so many children. Yields its process id; at the end it is stopped as an operator would."""
    log = stack.data / "embedding-worker.log"
    command = ["-m", "celery", "-A", "config", "worker", "-c", str(children), "-Q", ",".join(QUEUES)]
    command += ["-n", "embedding@bench", "-l", "WARNING", f"--max-memory-per-child={LANE.recycle_above_kib}"]
    folder = str(settings.EMBEDDINGS["ENCODERS_DIR"])
    with stack.process(command, log, **ONE_THREAD, ENCODERS_DIR=folder, **more) as process:
        workers.wait_ready(stack)
        yield process.pid


def wait_for(stack: Stack, job_id: str, since: str = "") -> float:
    """Wait until a job has succeeded. Returns the seconds since it was sent, by Postgres' clock.

    since: count from when this job was sent, the first of a chain. Raises BenchError if a job failed, or they take
    longer than ten minutes.
    """
    deadline = time.monotonic() + JOB_SECONDS
    with stack.connect() as connection:
        while time.monotonic() < deadline:
            row = connection.execute(_ENDED, {"last": job_id, "first": since or job_id}).fetchone()
            if row is not None:
                return float(row[0])
            failed = connection.execute(_FAILED).fetchone()
            if failed is not None:
                raise BenchError(f"job {failed[0]} {failed[1]}: {failed[2]}")
            time.sleep(POLL_SECONDS)
    raise BenchError(f"job {job_id} did not end within {JOB_SECONDS:g} s")


def forget_jobs(stack: Stack) -> None:
    """What was sent while there was no worker, such as jobs that follow new documents."""
    stack.broker(0).flushall()
    with stack.connect() as connection:
        connection.execute("TRUNCATE jobs_job, jobs_attempt, django_celery_results_taskresult CASCADE")
