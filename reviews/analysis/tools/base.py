"""What every analyser takes and gives, and how a program becomes one."""

import os
import shutil
import sysconfig
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Protocol

from reviews.analysis import sandbox

KEPT_BYTES = 2 * 1024 * 1024
MAX_SUFFIX_CHARS = 32


class ToolFailed(Exception):
    """A tool gave no answer for these sources; the message says why."""


class ToolMissing(ToolFailed):
    """It is not installed."""


@dataclass(frozen=True)
class Edit:
    """Put `text` in place of what is between two positions; rows and columns from 1, in characters."""

    row: int
    column: int
    end_row: int
    end_column: int
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One thing that a tool says. Rows and columns from 1, as the tool counts them.

    secret: a text that may not be shown or stored. severity: high, medium or low where the tool knows better than its
    rule; else empty. fix: what the tool would do about it, safe by its own word.
    """

    rule: str
    message: str
    row: int
    column: int
    end_row: int
    secret: str = field(default="", repr=False)
    severity: str = ""
    fix: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Text:
    """A source to look at. path: its path in the repository."""

    path: str
    text: str


class Output(Protocol):
    """What a tool said, as (key of a source, diagnostic); it can be gone through more than once."""

    def __iter__(self) -> Iterator[tuple[str, Diagnostic]]: ...


class Tool(Protocol):
    """An analyser of single files. code: whether it understands them, or only searches them."""

    name: str
    code: bool

    def version(self) -> str:
        """Its name and version. Raises ToolFailed."""
        ...

    def reads(self, path: str, first_line: str) -> bool: ...

    def run(self, sources: Mapping[str, Text]) -> AbstractContextManager[Iterable[tuple[str, Diagnostic]]]:
        """Look at sources, by key. Raises ToolFailed; then none of them counts as read."""
        ...


@cache
def program(name: str) -> str:
    """The program that was installed with Switchyard, else the one on the search path. Raises ToolMissing."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if not found:
        raise ToolMissing(f"the program `{name}` is not installed; install requirements.txt")
    return found


@cache
def version_of(name: str) -> str:
    with sandbox.folder() as own, tempfile.TemporaryFile() as output:
        try:
            sandbox.run([program(name), "--version"], cwd=own, stdout=output)
        except sandbox.SandboxFailed as exc:
            raise ToolFailed(str(exc)) from None
        lines = output.read(2000).decode("utf-8", "replace").split("\n")
    found = next((line for line in lines if any(char.isdigit() for char in line)), name).strip()
    return found.replace("Version: ", f"{name} ").replace("version: ", f"{name} ")


class ProgramTool(ABC):
    """A program that is started once for many files, each in a numbered folder of its own."""

    name: str
    code = True
    ok_codes: tuple[int, ...] = (0,)
    limits = sandbox.Limits()

    def version(self) -> str:
        return version_of(self.name)

    @abstractmethod
    def reads(self, path: str, first_line: str) -> bool: ...

    def file_name(self, path: str) -> str:
        """A name of ours for a file: what the repository calls it may hold anything."""
        suffix = path.rsplit(".", 1)[-1].lower()
        is_one = suffix.isalnum() and suffix.isascii() and len(suffix) <= MAX_SUFFIX_CHARS
        return f"file.{suffix}" if is_one else "file"

    @abstractmethod
    def argv(self, folder: Path, names: Mapping[str, str]) -> list[str]:
        """names: the files, relative to the folder → their path in the repository."""
        ...

    @abstractmethod
    def parse(self, output: IO[bytes], texts: Mapping[str, Text]) -> Iterator[tuple[str, Diagnostic]]:
        """The diagnostics, each by the number of its file. texts: by that number."""
        ...

    @contextmanager
    def run(self, sources: Mapping[str, Text]) -> Iterator["ProgramOutput"]:
        texts: dict[str, Text] = {}
        keys: dict[str, str] = {}
        names: dict[str, str] = {}
        with tempfile.TemporaryFile() as output:
            with sandbox.folder() as folder:
                for number, (key, source) in enumerate(sources.items()):
                    keys[str(number)], texts[str(number)] = key, source
                    name = f"{number}/{self.file_name(source.path)}"
                    names[name] = source.path
                    file = folder / name
                    file.parent.mkdir(parents=True)
                    # Surrogates cannot be written; they come from codecs such as utf-7 only.
                    file.write_bytes(source.text.encode("utf-8", "replace"))
                self._start(folder, names, output)
            yield ProgramOutput(self, output, keys, texts)

    def _start(self, folder: Path, names: Mapping[str, str], output: IO[bytes]) -> None:
        try:
            ran = sandbox.run(self.argv(folder, names), cwd=folder, stdout=output, limits=self.limits)
        except sandbox.SandboxFailed as exc:
            raise ToolFailed(str(exc)) from None
        if ran.code not in self.ok_codes:
            said = ran.errors[-300:] if self.code else ""
            raise ToolFailed(f"{self.name} ended with {ran.code}: {said or 'no reason given'}")


@dataclass
class ProgramOutput:
    """It stays on disk; what was parsed is kept where it is little."""

    tool: ProgramTool
    file: IO[bytes]
    keys: Mapping[str, str]
    texts: Mapping[str, Text]
    parsed: list[tuple[str, Diagnostic]] | None = None

    def __iter__(self) -> Iterator[tuple[str, Diagnostic]]:
        if self.parsed is None and self.file.seek(0, os.SEEK_END) <= KEPT_BYTES:
            self.parsed = list(self._parse())
        return iter(self.parsed) if self.parsed is not None else self._parse()

    def _parse(self) -> Iterator[tuple[str, Diagnostic]]:
        self.file.seek(0)
        try:
            for number, said in self.tool.parse(self.file, self.texts):
                yield self.keys[number], said
        except (ValueError, KeyError, TypeError, IndexError) as exc:
            raise ToolFailed(f"the answer of {self.tool.name} cannot be read: {type(exc).__name__}") from None


def number_of(file_name: str) -> str:
    """The numbered folder of a file that a program names."""
    return next(part for part in Path(file_name).parts[::-1] if part.isdigit())
