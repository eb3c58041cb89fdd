"""A real worker of one lane, on the benchmark's servers."""

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.bench import workers
from jobs.bench.stack import Stack


@contextmanager
def worker(stack: Stack, lane: str) -> Iterator[None]:
    """Run it as in production; it is ready when the block begins, and gone at the end."""
    with stack.process(["manage.py", "worker", lane], stack.data / f"{lane}.log"):
        workers.wait_ready(stack)
        yield
