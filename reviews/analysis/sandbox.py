"""Runs analysers on text from outside: no network, no environment of ours, limits on all that they may use.

Each run has a folder of its own, and is killed as a group at its time limit. Where the kernel gives no network
namespace (some containers), that is logged once and told by `manage.py doctor`, and the other limits hold.
"""

import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reviews import processes

LAUNCHER = Path(__file__).with_name("launcher.py")
MEGABYTE = 1024 * 1024

logger = logging.getLogger(__name__)
_refusal_logged = threading.Event()


class SandboxFailed(Exception):
    """The program gave no answer; the message says why."""


@dataclass(frozen=True)
class Limits:
    """What one run may use. memory_bytes: of address space; None for programs that reserve more than they use."""

    wall_seconds: float = 30.0
    cpu_seconds: int = 60
    memory_bytes: int | None = 2048 * MEGABYTE
    file_bytes: int = 64 * MEGABYTE
    open_files: int = 512
    processes: int = 128
    output_bytes: int = 48 * MEGABYTE


@dataclass(frozen=True)
class Ran:
    """How a run ended. errors: the end of its standard error. refused: what the kernel did not let us take from it."""

    code: int
    errors: str
    refused: str = ""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one run, and its content, thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="switchyard-review-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    stdout: IO[bytes],
    limits: Limits | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ran:
    """Run a program to its end in `cwd`; its output goes to the file `stdout`.

    environment: added to a search path and a locale, which is all that it gets. Raises SandboxFailed when it takes too
    long, writes too much or cannot be started.
    """
    limits = limits or Limits()
    given = processes.plain_environment(**{"HOME": str(cwd), "TMPDIR": str(cwd), **(environment or {})})
    with tempfile.TemporaryFile() as told:
        os.set_inheritable(told.fileno(), True)
        try:
            code, _, errors = processes.run(
                [sys.executable, "-I", "-S", str(LAUNCHER), _limits(limits, told.fileno()), *argv],
                timeout_seconds=limits.wall_seconds,
                environment=given,
                cwd=cwd,
                stdout=stdout,
                pass_fds=(told.fileno(),),
            )
        except processes.ProgramTimedOut:
            raise SandboxFailed(f"{Path(argv[0]).name} took more than {limits.wall_seconds:g} s") from None
        told.seek(0)
        refused = told.read().decode("utf-8", "replace")
    if refused and not _refusal_logged.is_set():
        _refusal_logged.set()
        logger.warning("Analysers run without some of their limits: %s", refused)
    if stdout.seek(0, os.SEEK_END) > limits.output_bytes:
        raise SandboxFailed(f"{Path(argv[0]).name} printed more than {limits.output_bytes // MEGABYTE} MB")
    stdout.seek(0)
    return Ran(code, errors, refused)


def _limits(limits: Limits, told: int) -> str:
    values: dict[str, int] = {
        "parent": os.getpid(),
        "told": told,
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_CORE": 0,
    }
    if limits.memory_bytes is not None:
        values["RLIMIT_AS"] = limits.memory_bytes
    return json.dumps(values)


def refusal() -> str:
    """What the kernel does not let us take from analysers, in its words; empty where all of it works."""
    with folder() as own, tempfile.TemporaryFile() as output:
        try:
            return run([sys.executable, "-I", "-S", "-c", ""], cwd=own, stdout=output).refused
        except SandboxFailed as exc:
            return str(exc)
