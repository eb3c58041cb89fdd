"""A change from a local git repository, without network or database."""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from reviews.changes import Change, ContentUnavailable, FileChange, FileKind, FileStatus, Hunk, Side, whole_file
from reviews.diffs import parse_patch
from reviews.git import BlobReader, Git, Objects, RawEntry, TreeFile

_STATUS = {"A": FileStatus.ADDED, "D": FileStatus.DELETED, "R": FileStatus.RENAMED, "C": FileStatus.COPIED}
_KIND = {"120000": FileKind.SYMLINK, "160000": FileKind.SUBMODULE}
_NOTHING = "000000"

# Of one side of a change, as a folder: what types are told from. Of other files only the names are there.
SOURCE_SUFFIXES = (".py", ".pyi", ".gitignore")
MAX_TREE_FILES = 30_000
MAX_TREE_FILE_BYTES = 1024 * 1024
MAX_TREE_BYTES = 256 * 1024 * 1024


@contextmanager
def open_change(path: Path, base: str, head: str) -> Iterator[Change]:
    """What `head` changes since it left `base`: the merge base of the two is compared with head.

    File contents can be read inside the block. Raises NotARepository, UnknownRevision, GitError.
    """
    with open_change_and_trees(path, base, head) as (change, _):
        yield change


@contextmanager
def open_change_and_trees(path: Path, base: str, head: str) -> Iterator[tuple[Change, "LocalTrees"]]:
    """The change, and the whole repository on both of its sides. Raises NotARepository, UnknownRevision, GitError."""
    git = Git(path)
    base_commit, head_commit = git.commit(base), git.commit(head)
    ancestor = git.merge_base(base_commit, head_commit)
    notes: tuple[str, ...] = ()
    if ancestor is None:
        notes = ("base and head have no common ancestor here, so they were compared directly",)
    with git.objects() as objects, objects.blobs() as blobs:
        entries = objects.differing(ancestor or base_commit, head_commit)
        files = tuple(_file_change(objects, blobs, entry) for entry in entries)
        change = Change(base=ancestor or base_commit, head=head_commit, files=files, notes=notes)
        yield change, LocalTrees(objects, blobs, change)


class LocalTrees:
    """Both sides as folders, of regular files only; see `providers.base.Trees`."""

    def __init__(self, objects: Objects, blobs: BlobReader, change: Change) -> None:
        self._objects, self._blobs, self._change = objects, blobs, change

    def base(self) -> AbstractContextManager[Path]:
        return self._side(self._change.base)

    def head(self) -> AbstractContextManager[Path]:
        return self._side(self._change.head)

    @contextmanager
    def _side(self, commit: str) -> Iterator[Path]:
        """Raises ContentUnavailable for a repository that is larger than what is written out."""
        with tempfile.TemporaryDirectory(prefix="switchyard-tree-", ignore_cleanup_errors=True) as name:
            room = MAX_TREE_BYTES
            for number, file in enumerate(self._objects.files(commit)):
                if number >= MAX_TREE_FILES or room < 0:
                    raise ContentUnavailable(f"the repository has more than {MAX_TREE_FILES:,} files or too many bytes")
                if file.mode.startswith("100") and is_below(file.path):
                    room -= self._write(Path(name) / file.path, file)
            yield Path(name)

    def _write(self, target: Path, file: TreeFile) -> int:
        """Bytes written. What the file system does not take, such as a name that is too long, is left out."""
        read = file.path.endswith(SOURCE_SUFFIXES) and (file.size_bytes or 0) <= MAX_TREE_FILE_BYTES
        content = self._blobs.read(file.blob_id) if read else b""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                stream.write(content)
        except OSError:
            return 0
        return len(content)


def is_below(path: str) -> bool:
    """Whether a path stays below the folder that it is written into."""
    return all(part not in ("", ".", "..") and part.lower() != ".git" for part in path.split("/"))


def _file_change(objects: Objects, blobs: BlobReader, entry: RawEntry) -> FileChange:
    base = _side(blobs, entry.old_mode, entry.old_id)
    head = _side(blobs, entry.new_mode, entry.new_id)

    def load_hunks() -> tuple[Hunk, ...]:
        if head is None or head.kind is not FileKind.REGULAR or entry.old_id == entry.new_id:
            return ()
        # A file that was a link before is new as a file.
        if base is None or base.kind is not FileKind.REGULAR:
            return whole_file(head.load())
        return parse_patch(objects.patch(entry.old_id, entry.new_id))

    return FileChange(
        path=entry.path,
        old_path=entry.old_path if entry.old_path != entry.path else None,
        status=_STATUS.get(entry.status, FileStatus.MODIFIED),
        base=base,
        head=head,
        load_hunks=load_hunks,
    )


def _side(blobs: BlobReader, mode: str, blob_id: str) -> Side | None:
    if mode == _NOTHING:
        return None
    return Side(kind=_KIND.get(mode, FileKind.REGULAR), load=lambda: blobs.read(blob_id))
