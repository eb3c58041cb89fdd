"""A change from a local git repository, without network or database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reviews.changes import Change, FileChange, FileKind, FileStatus, Hunk, Side, whole_file
from reviews.diffs import parse_patch
from reviews.git import BlobReader, Git, Objects, RawEntry

_STATUS = {"A": FileStatus.ADDED, "D": FileStatus.DELETED, "R": FileStatus.RENAMED, "C": FileStatus.COPIED}
_KIND = {"120000": FileKind.SYMLINK, "160000": FileKind.SUBMODULE}
_NOTHING = "000000"


@contextmanager
def open_change(path: Path, base: str, head: str) -> Iterator[Change]:
    """What `head` changes since it left `base`: the merge base of the two is compared with head.

    File contents can be read inside the block. Raises NotARepository, UnknownRevision, GitError.
    """
    git = Git(path)
    base_commit, head_commit = git.commit(base), git.commit(head)
    ancestor = git.merge_base(base_commit, head_commit)
    notes: tuple[str, ...] = ()
    if ancestor is None:
        notes = ("base and head have no common ancestor here, so they were compared directly",)
    with git.objects() as objects, objects.blobs() as blobs:
        entries = objects.differing(ancestor or base_commit, head_commit)
        files = tuple(_file_change(objects, blobs, entry) for entry in entries)
        yield Change(base=ancestor or base_commit, head=head_commit, files=files, notes=notes)


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
