"""Runs other programs on input from outside: in a process group of their own, with a time limit, without secrets."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from jobs.worker.processes import mark


class ProgramTimedOut(Exception):
    """The program was still running at its time limit, and was killed."""


def plain_environment(**more: str) -> dict[str, str]:
    """An environment that holds nothing of ours but the search path, and by which job's process it was started."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **mark(), **more}


@contextlib.contextmanager
def running(argv: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program; when the block ends, however it does, its whole process group is gone."""
    process = subprocess.Popen(argv, start_new_session=True, **options)
    try:
        yield process
    finally:
        # Once it has been waited for, its number may belong to another process.
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()


def run(
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdout: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> tuple[int, bytes, str]:
    """Run to the end: exit code, standard output (empty where `stdout` takes it), and the end of standard error.

    Raises ProgramTimedOut, OSError when the program cannot be started.
    """
    options = {"stdin": subprocess.DEVNULL, "stdout": stdout or subprocess.PIPE, "stderr": subprocess.PIPE}
    with running(argv, cwd=cwd, env=dict(environment), pass_fds=pass_fds, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ProgramTimedOut(f"{Path(argv[0]).name} took more than {timeout_seconds:g} s") from None
    return process.returncode, output or b"", errors.decode("utf-8", "replace")[-2000:].strip()
