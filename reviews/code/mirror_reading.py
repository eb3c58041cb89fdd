"""What is in a mirror: the files of a commit, their contents, and whole trees as folders."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from reviews import processes
from reviews.code import mirror_git
from reviews.code.languages import Entry
from reviews.code.mirror import Mirror, MirrorDamaged, MirrorFailed
from reviews.git import GitError
from reviews.models import Repository

READ_SECONDS = 600.0
MAX_TREE_FILES = 50_000
MAX_TREE_BYTES = 512 << 20
MAX_TREE_FILE_BYTES = 4 << 20


def entries(mirror: Mirror, commit: str) -> list[Entry]:
    """The files of a commit. Raises MirrorFailed."""
    try:
        output = mirror_git.run(mirror.folder, "ls-tree", "-r", "-z", "-l", "--full-tree", commit)
    except mirror_git.TookTooLong as exc:
        raise MirrorFailed(str(exc)) from None
    except GitError as exc:
        raise MirrorDamaged(str(exc)) from None
    return parse_entries(output)


def parse_entries(output: bytes) -> list[Entry]:
    """output: of `git ls-tree -z -l`."""
    return [_entry(line) for line in output.split(b"\0")[:-1]]


def _entry(line: bytes) -> Entry:
    head, _, path = line.partition(b"\t")
    mode, _, blob, size = head.decode("ascii").split()
    # Paths are bytes to git; those that are not UTF-8 are shown with their bytes written out.
    return Entry(mode, blob, int(size) if size.isdigit() else None, path.decode("utf-8", "backslashreplace"))


def contents(mirror: Mirror, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Each blob with its content, in the order given, by one git. Raises MirrorDamaged for one that is not there."""
    with tempfile.TemporaryFile() as wanted:
        wanted.write("".join(f"{blob}\n" for blob in blobs).encode("ascii"))
        wanted.seek(0)
        options = {"stdin": wanted, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        argv = mirror_git.argv("cat-file", "--batch", "--buffer")
        with processes.running(argv, cwd=mirror.folder, env=mirror_git.environment(), **options) as process:
            # A read from a pipe has no time limit of its own: at the limit, git is ended and the pipe with it.
            watchdog = threading.Timer(READ_SECONDS, process.kill)
            watchdog.daemon = True
            watchdog.start()
            try:
                yield from _read(process)
            finally:
                watchdog.cancel()


def _read(process: "subprocess.Popen[bytes]") -> Iterator[tuple[str, bytes]]:
    stdout = process.stdout
    assert stdout is not None
    while header := stdout.readline().split():
        if len(header) != 3 or header[1] != b"blob":
            raise MirrorDamaged(f"{header[0].decode('ascii', 'replace')} is not in the mirror")
        size = int(header[2])
        content = stdout.read(size)
        if len(content) != size or stdout.read(1) != b"\n":
            raise MirrorDamaged("git stopped while a content was being read")
        yield header[0].decode("ascii"), content
    if process.wait():
        raise MirrorDamaged("git stopped while contents were being read")


def content(mirror: Mirror, blob: str) -> bytes:
    """Raises MirrorDamaged."""
    return next(contents(mirror, [blob]))[1]


class MirrorTrees:
    """Both sides of a change as folders, see `providers.base.Trees`. Raises GitError, GitHubError when entered.

    base: where the two sides parted, as far as the mirror knows; what others did since is no part of the change.
    """

    def __init__(self, mirror: Mirror, base: str, head: str) -> None:
        self._mirror, self._base, self._head = mirror, base, head

    def base(self) -> AbstractContextManager[Path]:
        return self._side(self._base)

    def head(self) -> AbstractContextManager[Path]:
        return self._side(self._head)

    @contextmanager
    def _side(self, commit: str) -> Iterator[Path]:
        self._mirror.ensure([self._base, self._head])
        if commit == self._base:
            commit = self._mirror.merge_base(self._base, self._head) or commit
        with tempfile.TemporaryDirectory(prefix="switchyard-tree-", ignore_cleanup_errors=True) as name:
            extract(self._mirror, commit, Path(name))
            yield Path(name)


def trees(repository: Repository, base: str, head: str) -> MirrorTrees:
    """The whole repository at two commits. They are fetched, and written out, when a side is entered."""
    return MirrorTrees(Mirror(repository), base, head)


def extract(mirror: Mirror, commit: str, folder: Path) -> int:
    """Write the regular files of a commit into an empty folder, and return how many.

    Links, submodules and what git would not check out are left out, as are files of more than 4 MB; of many, or
    large ones, those that come first by path are written.
    """
    chosen: list[Entry] = []
    left = MAX_TREE_BYTES
    for entry in entries(mirror, commit):
        size = entry.size or 0
        if entry.mode.startswith("100") and size <= MAX_TREE_FILE_BYTES and size <= left and is_safe(entry.path):
            left -= size
            chosen.append(entry)
        if len(chosen) >= MAX_TREE_FILES:
            break
    found = contents(mirror, [entry.blob for entry in chosen])
    for entry, (_, text) in zip(chosen, found, strict=True):
        _write(folder, entry.path, text)
    return len(chosen)


def is_safe(path: str) -> bool:
    """Whether a path stays below the folder that it is written into, and is none of git's own."""
    parts = path.split("/")
    return (
        len(path.encode("utf-8", "surrogatepass")) < 1024
        and "\\" not in path
        and "\x00" not in path
        and all(part not in ("", ".", "..") and part.lower() != ".git" and len(part) < 200 for part in parts)
    )


def _write(folder: Path, path: str, text: bytes) -> None:
    """A tree may name a file and a folder alike: the second of them is left out."""
    target = folder / path
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError:
        return
    with open(file, "wb") as stream:
        stream.write(text)
