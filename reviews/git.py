"""Reads a git repository that is not trusted: none of its hooks, filters, drivers or settings is run.

Source: git-config(1) on protected configuration, git-diff-tree(1) on the raw format, git-cat-file(1) on --batch.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reviews import processes
from reviews.changes import ContentUnavailable

TIMEOUT_SECONDS = 60.0
PATCH_TIMEOUT_SECONDS = 20.0
RENAME_LIMIT = 1000
MAX_BLOB_BYTES = 64 * 1024 * 1024

_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PAGER": "cat",
    "HOME": "/nonexistent",
}
_SETTINGS = {
    "safe.directory": "*",
    "core.fsmonitor": "",
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.quotePath": "false",
    "diff.external": "",
    "protocol.allow": "never",
}


class GitError(Exception):
    """Git could not do it; the message says what was asked and what git answered."""


class NotARepository(GitError):
    pass


class UnknownRevision(GitError):
    pass


@dataclass(frozen=True)
class RawEntry:
    """One line of `git diff --raw`. Modes are git's, such as 100644; a side that is not there has mode 000000."""

    status: str
    old_mode: str
    new_mode: str
    old_id: str
    new_id: str
    old_path: str
    path: str


@dataclass(frozen=True)
class TreeFile:
    """A file of a commit. mode: git's; size_bytes: None for a submodule."""

    path: str
    mode: str
    blob_id: str
    size_bytes: int | None


class Git:
    """One repository, bare or with a working tree."""

    def __init__(self, path: Path) -> None:
        """Raises NotARepository."""
        self.path = path
        if not path.is_dir():
            raise NotARepository(f"{str(path)!r} is not a folder; give the path of a git repository")
        code, _, errors = self._run("rev-parse", "--git-dir")
        if code:
            raise NotARepository(f"{str(path)!r} is not a git repository ({_first_line(errors)}); give the path of one")

    def _run(self, *arguments: str) -> tuple[int, bytes, str]:
        return _run(self.path, _ENVIRONMENT, TIMEOUT_SECONDS, *arguments)

    def _output(self, *arguments: str) -> bytes:
        return _checked(arguments[0], self._run(*arguments))

    def commit(self, revision: str) -> str:
        """The full id of a commit. Raises UnknownRevision."""
        # git never takes it for an option so, and no branch may begin with a dash.
        if not revision or revision.startswith("-") or "\0" in revision:
            raise UnknownRevision(f"{revision!r} is not a revision; give a branch, a tag or a commit id")
        code, output, _ = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if code:
            advice = "give a branch, tag or commit id that is there"
            if self._run("rev-parse", "--is-shallow-repository")[1].strip() == b"true":
                advice += "; the clone is shallow, and git fetch --unshallow brings the rest"
            raise UnknownRevision(f"unknown revision {revision!r} in {str(self.path)!r}; {advice}")
        return output.decode("ascii").strip()

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor of two commit ids, None when they have none (or the clone is too shallow)."""
        code, output, errors = self._run("merge-base", one, other)
        if code > 1:
            raise _failed("merge-base", code, errors)
        return output.decode("ascii").split("\n")[0].strip() or None if code == 0 else None

    @contextmanager
    def objects(self) -> Iterator["Objects"]:
        """The repository's objects alone.

        They are read through an empty repository of our own: what the reviewed one sets, such as diff.orderFile, would
        change what git prints, and a value that git does not know (diff.algorithm = foo) stops it even if overridden.
        """
        object_format = self._output("rev-parse", "--show-object-format").decode("ascii").strip()
        folder = os.fsdecode(self._output("rev-parse", "--git-path", "objects").removesuffix(b"\n"))
        with tempfile.TemporaryDirectory(prefix="switchyard-review-") as name:
            own = Path(name)
            init = ("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", ".")
            _checked("init", _run(own, _ENVIRONMENT, TIMEOUT_SECONDS, *init))
            yield Objects(own, (self.path / folder).resolve())


class Objects:
    """Commits, trees and blobs by their ids, read without any setting of the repository that holds them."""

    def __init__(self, own: Path, objects: Path) -> None:
        """own: an empty bare repository; objects: the object folder to read."""
        self._own = own
        self._environment = {**_ENVIRONMENT, "GIT_DIR": str(own), "GIT_OBJECT_DIRECTORY": str(objects)}

    def _output(self, timeout_seconds: float, *arguments: str) -> bytes:
        return _checked(arguments[0], _run(self._own, self._environment, timeout_seconds, *arguments))

    def differing(self, base: str, head: str) -> Iterator[RawEntry]:
        """The files that differ between two commits; renames are followed."""
        output = self._output(
            TIMEOUT_SECONDS,
            "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--find-renames", f"-l{RENAME_LIMIT}",
            "--no-ext-diff", "--no-textconv", "--no-relative", "--ignore-submodules=none", base, head, "--",
        )  # fmt: skip
        fields = iter(output.split(b"\0")[:-1])
        for header in fields:
            old_mode, new_mode, old_id, new_id, status = header.decode("ascii").lstrip(":").split(" ")
            old_path = path = _path(next(fields))
            if status[0] in "RC":
                path = _path(next(fields))
            yield RawEntry(status[0], old_mode, new_mode, old_id, new_id, old_path, path)

    def files(self, commit: str) -> Iterator[TreeFile]:
        """All that a commit holds."""
        output = self._output(TIMEOUT_SECONDS, "ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        for line in output.split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, blob_id, size = about.decode("ascii").split()
            yield TreeFile(_path(path), mode, blob_id, int(size) if size.isdigit() else None)

    def patch(self, old_id: str, new_id: str) -> str:
        """The diff of two blobs as latin-1, one character a byte; by id, so that no attribute of a path applies.

        Raises ContentUnavailable: one file that git cannot compare does not end the review of the others.
        """
        options = ("--no-color", "--no-ext-diff", "--no-textconv", "--text")
        try:
            output = self._output(PATCH_TIMEOUT_SECONDS, "diff", *options, old_id, new_id, "--")
        except GitError as exc:
            raise ContentUnavailable(f"its diff cannot be had: {exc}") from None
        return output.decode("latin-1")

    @contextmanager
    def blobs(self) -> Iterator["BlobReader"]:
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        environment = processes.plain_environment(**self._environment)
        with processes.running(_argv("cat-file", "--batch"), cwd=self._own, env=environment, **options) as process:
            yield BlobReader(process)


class BlobReader:
    """Reads blobs by id from one `git cat-file --batch`."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def read(self, blob_id: str) -> bytes:
        """Raises ContentUnavailable for a blob that is missing, or larger than 64 MB."""
        # A read from a pipe has no time limit of its own: at the limit, git is ended and the pipe with it.
        watchdog = threading.Timer(TIMEOUT_SECONDS, self._process.kill)
        watchdog.start()
        try:
            return self._read(blob_id)
        except OSError:
            raise ContentUnavailable("git stopped while its content was being read") from None
        finally:
            watchdog.cancel()

    def _read(self, blob_id: str) -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(blob_id.encode("ascii") + b"\n")
        stdin.flush()
        header = stdout.readline().split()
        if len(header) != 3:
            raise ContentUnavailable("its content is not in the repository: the clone is partial or damaged")
        size = int(header[2])
        if size > MAX_BLOB_BYTES:
            left = size + 1
            while left and (piece := stdout.read(min(left, 1 << 20))):
                left -= len(piece)
            raise ContentUnavailable(f"it has {size:,} bytes; files of up to {MAX_BLOB_BYTES:,} are read")
        content = stdout.read(size)
        stdout.read(1)
        if len(content) != size:
            raise ContentUnavailable("git stopped while its content was being read")
        return content


def _argv(*arguments: str) -> list[str]:
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    return ["git", "--no-pager", *settings, *arguments]


def _run(
    folder: Path, environment: Mapping[str, str], timeout_seconds: float, *arguments: str
) -> tuple[int, bytes, str]:
    """Run git in a folder: exit code, output, errors. Raises GitError when it takes too long or is not installed."""
    given = processes.plain_environment(**environment)
    try:
        return processes.run(_argv(*arguments), timeout_seconds=timeout_seconds, environment=given, cwd=folder)
    except processes.ProgramTimedOut as exc:
        raise GitError(f"git {arguments[0]}: {exc}") from None
    except FileNotFoundError:
        raise GitError("the program `git` is not installed; install it, for example with apt install git") from None


def _checked(command: str, done: tuple[int, bytes, str]) -> bytes:
    code, output, errors = done
    if code:
        raise _failed(command, code, errors)
    return output


def _failed(command: str, code: int, errors: str) -> GitError:
    return GitError(f"git {command} ended with {code}: {_first_line(errors)}")


def _path(name: bytes) -> str:
    """Paths are bytes to git; those that are not UTF-8 are shown with their bytes written out."""
    return name.decode("utf-8", "backslashreplace")


def _first_line(errors: str) -> str:
    return errors.splitlines()[0] if errors else "no reason given"
