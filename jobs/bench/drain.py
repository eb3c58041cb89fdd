"""Drains a full queue with a worker of two children: how many jobs a second, and what they cost in CPU time."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from jobs.bench.machine import cpu_seconds
from jobs.bench.plain import MARKS
from jobs.bench.senders import QUEUE, WARM_UP
from jobs.bench.stack import STOCK_DATABASE, BenchError, Stack

CHILDREN = 2
TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Contender:
    """One way to run jobs.

    sender: its name in `senders`. broker: the number of its Redis database. span: from the stack and the count of
    measured jobs to the seconds they took, None while some are not done; raises BenchError if one is missing.
    """

    sender: str
    app: str
    broker: int
    queues: tuple[str, ...]
    span: Callable[[Stack, int], float | None]
    options: tuple[str, ...] = ()


def _plain_span(stack: Stack, count: int) -> float | None:
    marks = [float(mark) for mark in stack.broker(1).lrange(MARKS, 0, -1)]
    return marks[1] - marks[0] if len(marks) == 2 else None


def _stock_span(stack: Stack, count: int) -> float | None:
    with stack.connect(STOCK_DATABASE) as connection:
        return _seconds(
            connection,
            "SELECT date_done AS at, date_done FROM django_celery_results_taskresult WHERE status = 'SUCCESS'",
            count,
        )


def _ledger_span(stack: Stack, count: int) -> float | None:
    """From the first measured start to the last recorded finish; every job must have all of its records."""
    with stack.connect() as connection:
        unfinished = connection.execute(
            "SELECT count(*) FROM jobs_job WHERE state IN ('scheduled', 'queued', 'running')"
        ).fetchone()
        if unfinished != (0,):
            return None
        recorded = connection.execute(
            """
            SELECT count(*) FROM jobs_job AS j
            JOIN jobs_attempt AS a ON a.job_id = j.id AND a.number = 1 AND a.outcome = 'succeeded'
            JOIN django_celery_results_taskresult AS r ON r.task_id = j.id AND r.status = 'SUCCESS'
            WHERE j.state = 'succeeded' AND j.attempt = 1
            """
        ).fetchone()
        if recorded != (count + WARM_UP,):
            raise BenchError(f"{count + WARM_UP} jobs were sent, but {recorded} have their attempt and result")
        return _seconds(connection, "SELECT started_at AS at, finished_at FROM jobs_job", count)


def _seconds(connection: "psycopg.Connection[tuple[Any, ...]]", source: str, count: int) -> float | None:
    """From the first start after the warm-up to the last end, once there are as many rows as were sent."""
    row = connection.execute(
        f"""
        WITH done (started, ended) AS ({source})
        SELECT count(*), extract(epoch FROM max(ended) - (SELECT started FROM done ORDER BY started OFFSET %s LIMIT 1))
        FROM done
        """,  # noqa: S608  (constants only)
        [WARM_UP],
    ).fetchone()
    return float(row[1]) if row is not None and row[0] == count + WARM_UP else None


PLAIN = Contender("plain", "jobs.bench.plain", 1, ("celery",), _plain_span)
STOCK = Contender("stock", "jobs.bench.stock", 2, ("celery",), _stock_span)
LEDGER = Contender(
    "ledger", "config", 0, (QUEUE, "indexing", "maintenance"), _ledger_span, ("--max-memory-per-child=1000000",)
)


@contextmanager
def worker(stack: Stack, contender: Contender) -> Iterator[int]:
    """Run a worker. Yields its process id; at the end it is stopped as an operator would."""
    log = stack.data / f"{contender.sender}.log"
    command = ["-m", "celery", "-A", contender.app, "worker", "-c", str(CHILDREN), "-l", "WARNING"]
    command += ["-Q", ",".join(contender.queues), "-n", f"{contender.sender}@bench", *contender.options]
    with stack.process(command, log, BROKER_URL=stack.broker_url(contender.broker)) as process:
        yield process.pid


def drain(stack: Stack, contender: Contender, count: int, *, keep_history: bool = False) -> dict[str, float]:
    """Queue `count` jobs and a few to warm up, start a worker, and wait until all are done.

    Returns tasks_per_s and CPU milliseconds a task: worker_cpu_ms, postgres_cpu_ms, valkey_cpu_ms.
    Raises BenchError if a job is missing or it takes longer than a minute.
    """
    if not keep_history:
        forget_all(stack)
    send(stack, contender, "fill", count)
    with worker(stack, contender) as pid:
        _wait_until(lambda: _waiting(stack, contender) <= count, f"{contender.sender}: the worker did not start")
        left = max(1, _waiting(stack, contender))
        before = _cpu(stack, pid)
        _wait_until(lambda: _waiting(stack, contender) == 0, f"{contender.sender}: the queue was not drained")
        _wait_until(lambda: contender.span(stack, count) is not None, f"{contender.sender}: jobs were not finished")
        used = [(after - earlier) * 1000 / left for earlier, after in zip(before, _cpu(stack, pid), strict=True)]
        seconds = contender.span(stack, count)
    return {
        "tasks_per_s": count / (seconds or float("inf")),
        **dict(zip(("worker_cpu_ms", "postgres_cpu_ms", "valkey_cpu_ms"), used, strict=True)),
    }


def send(stack: Stack, contender: Contender, action: str, count: int) -> dict[str, float]:
    """Run one action of `senders` in a process of its own, and return what it measured."""
    arguments = ["-m", "jobs.bench.senders", contender.sender, action, str(count)]
    answer: dict[str, float] = json.loads(stack.run(arguments, BROKER_URL=stack.broker_url(contender.broker)))
    return answer


def forget_all(stack: Stack) -> None:
    """Empty queues and tables, so that every round begins alike."""
    stack.broker(0).flushall()
    with stack.connect() as connection:
        # What is known of the broker, too: an emptied one would be taken for lost, and every job be sent twice.
        connection.execute("TRUNCATE jobs_job, jobs_attempt, django_celery_results_taskresult, jobs_brokerstate")
        connection.execute("CHECKPOINT")
    with stack.connect(STOCK_DATABASE) as connection:
        connection.execute("TRUNCATE django_celery_results_taskresult")


def _waiting(stack: Stack, contender: Contender) -> int:
    """Messages in the contender's queues, over all of Kombu's priority keys."""
    broker = stack.broker(contender.broker)
    names = [name for queue in contender.queues for name in (queue, *(f"{queue}\x06\x16{n}" for n in range(10)))]
    with broker.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.llen(name)
        return int(sum(pipeline.execute()))


def _wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise BenchError(f"{otherwise} within {TIMEOUT_SECONDS} s")
        time.sleep(POLL_SECONDS)


def _cpu(stack: Stack, worker_pid: int) -> tuple[float, float, float]:
    return cpu_seconds([worker_pid]), cpu_seconds([stack.postgres_pid]), cpu_seconds([stack.valkey_pid])
