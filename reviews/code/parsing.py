"""Has sources read in a child process, with limits on its memory and time: they are hostile, and parsers are in C."""

import contextlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reviews import processes
from reviews.code import languages
from reviews.code.chunks import Chunk
from reviews.code.symbols import FoundReference, FoundSymbol

#: More than the child's own limit on its processor time, which a busy machine stretches.
WAIT_SECONDS = 60.0
MAX_ANSWER_BYTES = 64 << 20
_ROOT = Path(__file__).resolve().parents[2]


class NotParsed(Exception):
    """A source could not be read within the limits; the message says so in a few words."""


@dataclass(frozen=True)
class ParsedFile:
    symbols: tuple[FoundSymbol, ...]
    references: tuple[FoundReference, ...]
    chunks: tuple[Chunk, ...]
    lines: int
    is_partial: bool


class Parser:
    """Reads one source after the other; a child that dies is replaced."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()

    def parse(self, path: str, content: bytes) -> ParsedFile:
        """Raises NotParsed. path: for its language, which must be a known one."""
        language = languages.dialect_of(languages.language_of(path), path, content)
        try:
            raw = self._ask(language, content)
        except (OSError, EOFError, TimeoutError) as exc:
            self.close()
            raise NotParsed("took too long" if isinstance(exc, TimeoutError) else "could not be parsed") from None
        found = json.loads(raw)
        return ParsedFile(
            tuple(FoundSymbol(*row) for row in found["symbols"]),
            tuple(FoundReference(*row) for row in found["references"]),
            tuple(Chunk(*row) for row in found["chunks"]),
            content.count(b"\n") + (0 if content.endswith(b"\n") or not content else 1),
            bool(found["is_partial"]),
        )

    def close(self) -> None:
        self._child = None
        self._stack.close()
        self._stack = contextlib.ExitStack()

    def _ask(self, language: str, content: bytes) -> bytes:
        child = self._child or self._start()
        assert child.stdin is not None
        for part in (language.encode(), content):
            child.stdin.write(len(part).to_bytes(4, "big") + part)
        child.stdin.flush()
        deadline = time.monotonic() + WAIT_SECONDS
        length = int.from_bytes(_read(child, 4, deadline), "big")
        if length > MAX_ANSWER_BYTES:
            raise OSError("its answer is too long")
        return _read(child, length, deadline)

    def _start(self) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-m", "reviews.code.parsing_child"]
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "bufsize": 0}
        environment = processes.plain_environment(PYTHONDONTWRITEBYTECODE="1")
        running = processes.running(argv, cwd=_ROOT, env=environment, **options)
        self._child = self._stack.enter_context(running)
        return self._child


@contextlib.contextmanager
def parser() -> Iterator[Parser]:
    """A parser whose child is gone when the block ends."""
    made = Parser()
    try:
        yield made
    finally:
        made.close()


def _read(child: "subprocess.Popen[bytes]", length: int, deadline: float) -> bytes:
    """Raises EOFError when the child has ended, TimeoutError at the deadline."""
    assert child.stdout is not None
    parts: list[bytes] = []
    while length:
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = child.stdout.read(min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
