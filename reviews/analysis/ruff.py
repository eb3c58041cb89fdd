"""Runs ruff over sources in a folder of their own, never with a configuration of the repository they come from."""

import json
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from reviews import processes

RULES = ("S", "F", "E9", "B", "PLE", "ASYNC")
SYNTAX = "invalid-syntax"
# The newest syntax is the most lenient: what only an older Python refuses is not ours to judge.
TARGET_VERSION = "py314"
TIMEOUT_SECONDS = 60.0


class RuffFailed(Exception):
    """Ruff gave no answer for these sources; the message says why."""


@dataclass(frozen=True)
class Diagnostic:
    """One thing that ruff says. Rows and columns are ruff's, from 1."""

    rule: str
    message: str
    row: int
    column: int
    end_row: int


@cache
def program() -> str:
    """The ruff that was installed with Switchyard, else the one on the search path. Raises RuffFailed."""
    beside = Path(sysconfig.get_path("scripts")) / "ruff"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("ruff")
    if not found:
        raise RuffFailed("the program `ruff` is not installed; install requirements.txt")
    return found


@cache
def version() -> str:
    _, output, _ = processes.run(
        [program(), "--version"], timeout_seconds=TIMEOUT_SECONDS, environment=processes.plain_environment()
    )
    return output.decode("utf-8", "replace").strip()


@dataclass(frozen=True)
class Output:
    """What ruff said of sources, as (key, diagnostic). It stays on disk, and can be gone through more than once."""

    _file: IO[bytes]
    _keys: Mapping[str, str]

    def __iter__(self) -> Iterator[tuple[str, Diagnostic]]:
        self._file.seek(0)
        for line in self._file:
            if line.strip():
                answer = json.loads(line)
                yield self._keys[Path(str(answer["filename"])).parent.name], _diagnostic(answer)


@contextmanager
def lint(sources: Mapping[str, tuple[str, str]]) -> Iterator[Output]:
    """Lint sources: key → (path, text). The output is there inside the block.

    Raises RuffFailed when ruff crashes or takes too long; then none of them counts as read.
    """
    with tempfile.TemporaryFile() as output:
        keys: dict[str, str] = {}
        with tempfile.TemporaryDirectory(prefix="switchyard-review-") as name:
            folder = Path(name)
            for number, (key, (path, text)) in enumerate(sources.items()):
                file = folder / str(number) / _file_name(path)
                file.parent.mkdir()
                # Surrogates cannot be written; they come from codecs such as utf-7 only.
                file.write_bytes(text.encode("utf-8", "replace"))
                keys[str(number)] = key
            _run(folder, output)
        yield Output(output, keys)


def _file_name(path: str) -> str:
    """The parts of a name on which ruff's rules depend; the rest may hold anything, so it is left out."""
    name = path.rsplit("/", 1)[-1]
    if name in ("__init__.py", "__init__.pyi"):
        return name
    return "module.pyi" if name.endswith(".pyi") else "module.py"


def _run(folder: Path, output: IO[bytes]) -> None:
    argv = [
        program(), "check", "--isolated", "--no-cache", "--no-fix", "--exit-zero", "--quiet", "--no-respect-gitignore",
        "--output-format", "json-lines", "--target-version", TARGET_VERSION, "--select", ",".join(RULES), "--", ".",
    ]  # fmt: skip
    try:
        code, _, errors = processes.run(
            argv,
            timeout_seconds=TIMEOUT_SECONDS,
            environment=processes.plain_environment(HOME=str(folder)),
            cwd=folder,
            stdout=output,
        )
    except processes.ProgramTimedOut as exc:
        raise RuffFailed(str(exc)) from None
    if code:
        raise RuffFailed(f"ruff ended with {code}: {errors[-300:] or 'no reason given'}")


def _diagnostic(answer: dict[str, object]) -> Diagnostic:
    start, end = answer["location"], answer["end_location"]
    assert isinstance(start, dict)
    assert isinstance(end, dict)
    # A range that ends at the first column does not reach into its last row.
    end_row = end["row"] - (1 if end["column"] == 1 and end["row"] > start["row"] else 0)
    rule = str(answer["code"] or SYNTAX)
    return Diagnostic(rule, str(answer["message"]), start["row"], start["column"], end_row)
