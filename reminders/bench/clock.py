"""Processes of the benchmark live at one instant."""

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.bench.children import Child, child
from jobs.bench.stack import Stack
from reminders.bench.fill import NOW

INSIDE = "reminders.bench.inside"


@contextmanager
def scanner(stack: Stack, name: str = "scanner") -> Iterator[Child]:
    """A process that scans when it is told to, at the benchmark's instant."""
    file = stack.data / "clock"
    file.write_text(NOW.isoformat())
    with child(stack, name, INSIDE, VIRTUAL_CLOCK=str(file)) as one:
        yield one
