"""The same batches by RQ, which keeps nothing but a result."""

import statistics
from typing import Any

import redis

from embeddings.bench.inside import encoding
from embeddings.encoders import EncoderUnavailable
from jobs.bench.figures import percentile

QUEUE = "bench"


def fill(url: str, length: str, tasks: int, size: int) -> None:
    """Enqueue `tasks` of `size` documents each. Raises EncoderUnavailable where RQ is not installed."""
    queue = _queue(url)
    for first in range(0, tasks, 1000):
        numbers = range(first, min(first + 1000, tasks))
        queue.enqueue_many([queue.prepare_data(embed, (length, number * size, size)) for number in numbers])


def drain(url: str, workers: int) -> dict[str, float]:
    """Run all that is queued with a pool of workers, which fork from this process, encoder and texts loaded.

    Returns seconds from the first start to the last end, and how long a task took, mean and p95, in ms.
    """
    from rq.job import Job
    from rq.serializers import JSONSerializer
    from rq.worker_pool import WorkerPool

    queue = _queue(url)
    ids = queue.job_ids
    WorkerPool([QUEUE], connection=queue.connection, num_workers=workers, serializer=JSONSerializer).start(
        burst=True, logging_level="WARNING"
    )
    jobs: list[Any] = []
    for first in range(0, len(ids), 1000):
        jobs += Job.fetch_many(ids[first : first + 1000], connection=queue.connection, serializer=JSONSerializer)
    unfinished = [job for job in jobs if job is None or not job.is_finished]
    if unfinished:
        raise AssertionError(f"{len(unfinished)} of RQ's {len(ids)} tasks did not finish")
    taken = [(job.ended_at - job.started_at).total_seconds() * 1000 for job in jobs]
    span = max(job.ended_at for job in jobs) - min(job.started_at for job in jobs)
    return {"seconds": span.total_seconds(), "mean_ms": statistics.mean(taken), "p95_ms": percentile(taken, 0.95)}


def embed(length: str, first: int, count: int) -> dict[str, int]:
    return {"encoded": encoding.some(length, first, count)}


def _queue(url: str) -> Any:
    try:
        from rq import Queue
        from rq.serializers import JSONSerializer
    except ImportError:
        raise EncoderUnavailable("install RQ: pip install -r requirements/bench.in") from None
    return Queue(QUEUE, connection=redis.Redis.from_url(_redis_url(url)), serializer=JSONSerializer)


def _redis_url(url: str) -> str:
    """Kombu's way to name a socket, in redis-py's."""
    return url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
