"""The sending half of a measurement, in a process of its own: `python -m jobs.bench.senders SYSTEM ACTION COUNT`.

Prints one JSON object. SYSTEM: ledger, plain or stock. ACTION: fill (queue COUNT jobs), each (time single sends),
bulk (time COUNT sends in one transaction), starts (time from a send to the start of its body, one by one).
"""

import importlib
import json
import sys
import time
from typing import Any

from jobs.bench.figures import percentile

WARM_UP = 50
QUEUE = "embedding"
PAUSE_SECONDS = 0.02


class Plain:
    """Stock Celery: a send is a message."""

    module = "jobs.bench.plain"

    def __init__(self) -> None:
        self.tasks = importlib.import_module(self.module)

    def send(self) -> Any:
        return self.tasks.no_op.delay(None)

    def fill(self, count: int, warm_up: int) -> None:
        for _ in range(warm_up):
            self.send()
        self.tasks.mark.delay()
        for _ in range(count):
            self.send()
        self.tasks.mark.delay()

    def bulk(self, count: int) -> None:
        for _ in range(count):
            self.send()

    def settle(self) -> None:
        """Wait until what was sent is on its way."""

    def start_ms(self) -> float:
        with self.tasks.app.pool.acquire(block=True) as connection:
            client = connection.default_channel.client
            client.delete(self.tasks.MARKS)
            sent = time.time()
            self.tasks.mark.delay()
            _, started = client.blpop([self.tasks.MARKS], timeout=30)
        return (float(started) - sent) * 1000


class Stock(Plain):
    module = "jobs.bench.stock"

    def fill(self, count: int, warm_up: int) -> None:
        self.bulk(warm_up + count)


class Ledger(Plain):
    """A send is a row in the caller's transaction; a thread sends the message after the commit."""

    def __init__(self) -> None:
        import django

        importlib.import_module("config")
        django.setup()
        self.task = importlib.import_module("jobs.tasks").echo

    def send(self) -> Any:
        return self.task.apply_async((None,), queue=QUEUE)

    def fill(self, count: int, warm_up: int) -> None:
        left = count + warm_up
        while left:
            self.bulk(min(left, 1000))
            self.settle()
            left -= min(left, 1000)

    def bulk(self, count: int) -> None:
        from django.db import transaction

        with transaction.atomic():
            for _ in range(count):
                self.send()

    def settle(self) -> None:
        from jobs.ledger import publisher

        publisher.drain(120)

    def start_ms(self) -> float:
        from jobs.models import Job

        sent = time.time()
        result = self.send()
        while True:
            time.sleep(PAUSE_SECONDS)
            started = Job.objects.filter(pk=result.id).values_list("started_at", flat=True).get()
            if started is not None:
                return (started.timestamp() - sent) * 1000


SYSTEMS: dict[str, type[Plain]] = {"ledger": Ledger, "plain": Plain, "stock": Stock}


def fill(system: Plain, count: int) -> dict[str, float]:
    began = time.perf_counter()
    system.fill(count, WARM_UP)
    system.settle()
    return {"seconds": time.perf_counter() - began}


def each(system: Plain, count: int) -> dict[str, float]:
    """Single sends, each on its own, a little apart so that one does not wait for the aftermath of another."""
    for _ in range(WARM_UP):
        system.send()
    system.settle()
    taken = []
    for _ in range(count):
        time.sleep(0.001)
        began = time.perf_counter()
        system.send()
        taken.append((time.perf_counter() - began) * 1000)
    system.settle()
    return {"p50_ms": percentile(taken, 0.5), "p99_ms": percentile(taken, 0.99)}


def bulk(system: Plain, count: int) -> dict[str, float]:
    system.bulk(WARM_UP)
    system.settle()
    began = time.perf_counter()
    system.bulk(count)
    committed = time.perf_counter()
    system.settle()
    return {"per_s": count / (committed - began), "on_the_broker_per_s": count / (time.perf_counter() - began)}


def starts(system: Plain, count: int) -> dict[str, float]:
    for _ in range(5):
        system.start_ms()
    taken = []
    for _ in range(count):
        time.sleep(PAUSE_SECONDS)
        taken.append(system.start_ms())
    return {"p50_ms": percentile(taken, 0.5), "p95_ms": percentile(taken, 0.95)}


ACTIONS = {"fill": fill, "each": each, "bulk": bulk, "starts": starts}


def main(arguments: list[str]) -> None:
    system, action, count = arguments
    sys.stdout.write(json.dumps(ACTIONS[action](SYSTEMS[system](), int(count))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
