"""Processes of a benchmark that do as they are told: Django on the benchmark's own servers, one call at a time."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from django.conf import settings

from jobs.bench.stack import BenchError, Stack
from jobs.stack.parent import before_exec


class NotInstalled(Exception):
    """What was to be measured is not on this machine; the message says how to get it."""


class Child:
    """A process that calls functions of a package for us. It ends with this one."""

    def __init__(self, stack: Stack, name: str, package: str, **more: str) -> None:
        self._log = stack.data / f"{name}.log"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobs.bench.child", package],
                cwd=settings.BASE_DIR,
                env=stack.environment | ONE_THREAD | more,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                preexec_fn=before_exec(signal.SIGKILL),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, function: str, **arguments: Any) -> None:
        """Have it call `function`, "module.name", and go on meanwhile; `answer` waits for it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"function": function, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def answer(self) -> Any:
        """What the function returned. Raises NotInstalled, or BenchError if it raised anything else."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        said = json.loads(line)
        if "not_installed" in said:
            raise NotInstalled(said["not_installed"])
        if "error" in said:
            raise BenchError(said["error"])
        return said["answer"]

    def call(self, function: str, **arguments: Any) -> Any:
        self.ask(function, **arguments)
        return self.answer()

    def _died(self) -> BenchError:
        said = self._log.read_text(errors="replace").strip()[-2000:]
        return BenchError(f"a process of the benchmark ended with {self._process.wait()}; it said:\n{said}")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


#: Threads are counted in processes here, as in the workers.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@contextmanager
def child(stack: Stack, name: str, package: str, **more: str) -> Iterator[Child]:
    """One of them, with further environment. It is gone at the end."""
    one = Child(stack, name, package, **more)
    try:
        yield one
    finally:
        one.end()


@contextmanager
def children(stack: Stack, name: str, count: int, package: str, **more: str) -> Iterator[list[Child]]:
    with ExitStack() as several:
        yield [several.enter_context(child(stack, f"{name}-{number}", package, **more)) for number in range(count)]


def together(them: Sequence[Child], function: str, arguments: Sequence[dict[str, Any]]) -> list[Any]:
    """The same call in each, at the same time, each with its own arguments."""
    for one, its in zip(them, arguments, strict=True):
        one.ask(function, **its)
    return [one.answer() for one in them]
