"""A change from a pull request at GitHub: its files with their patches, contents on demand."""

import time
from functools import cache

from reviews.changes import (
    Change,
    ContentUnavailable,
    FileChange,
    FileKind,
    FileStatus,
    Hunk,
    Side,
    whole_file,
)
from reviews.diffs import parse_patch, undo_patch
from reviews.github.client import GitHubClient
from reviews.github.pulls import MAX_LISTED_FILES
from reviews.github.shapes import ListedFile, PullRequest

_STATUS = {
    "added": FileStatus.ADDED,
    "removed": FileStatus.DELETED,
    "renamed": FileStatus.RENAMED,
    "copied": FileStatus.COPIED,
}


def pull_request_change(client: GitHubClient, full_name: str, pull: PullRequest) -> Change:
    """What a pull request changes at its present head. Raises GitHubError."""
    source = _Source(client, full_name, pull)
    files = tuple(source.file_change(entry) for entry in client.files(full_name, pull.number))
    notes: tuple[str, ...] = ()
    if pull.changed_files > len(files):
        notes = (f"GitHub lists {len(files):,} of {pull.changed_files:,} changed files ({MAX_LISTED_FILES:,} at most)",)
    return Change(base=pull.base_sha, head=pull.head_sha, files=files, notes=notes)


# A job has 180 s in all. Heads come first; what they leave is for bases, most of which need no further request.
HEAD_SECONDS = 80
BASE_SECONDS = 120
KEPT_HEAD_BYTES = 64 * 1024 * 1024


class _Source:
    """Loads what is asked for within its time: each content once, while there is room, and the merge base once."""

    def __init__(self, client: GitHubClient, full_name: str, pull: PullRequest) -> None:
        self._client, self._full_name = client, full_name
        self._began = time.monotonic()
        self._heads: dict[str, bytes] = {}
        self._room = KEPT_HEAD_BYTES
        self._merge_base = cache(lambda: client.merge_base(full_name, pull.base_sha, pull.head_sha))

    def file_change(self, entry: ListedFile) -> FileChange:
        status = _STATUS.get(entry.status, FileStatus.MODIFIED)
        head = None if status is FileStatus.DELETED else Side(_kind(entry), lambda: self._head(entry))
        base = None if status is FileStatus.ADDED else Side(_kind(entry), lambda: self._base(entry, status))
        return FileChange(
            path=entry.path,
            old_path=entry.old_path if entry.old_path != entry.path else None,
            status=status,
            base=base,
            head=head,
            load_hunks=lambda: self._hunks(entry, status),
            anchored=entry.patch is not None,
        )

    def _head(self, entry: ListedFile) -> bytes:
        if not entry.sha:
            raise ContentUnavailable("GitHub does not name its content")
        if entry.sha in self._heads:
            return self._heads[entry.sha]
        self._check_time(HEAD_SECONDS)
        content = self._client.blob(self._full_name, entry.sha)
        if len(content) <= self._room:
            self._room -= len(content)
            self._heads[entry.sha] = content
        return content

    def _file_at_base(self, path: str) -> bytes:
        self._check_time(BASE_SECONDS)
        return self._client.file_at(self._full_name, path, self._merge_base())

    def _check_time(self, seconds: float) -> None:
        if time.monotonic() - self._began > seconds:
            raise ContentUnavailable(f"the {seconds} s for fetching contents from GitHub were used up")

    def _base(self, entry: ListedFile, status: FileStatus) -> bytes:
        if status is FileStatus.DELETED:
            return self._file_at_base(entry.path)
        if not entry.changes:
            return self._head(entry)
        if entry.patch is not None and (before := undo_patch(self._head(entry), entry.patch)) is not None:
            return before
        return self._file_at_base(entry.old_path or entry.path)

    def _hunks(self, entry: ListedFile, status: FileStatus) -> tuple[Hunk, ...]:
        if entry.patch is not None:
            return parse_patch(entry.patch)
        if status is FileStatus.ADDED:
            return whole_file(self._head(entry))
        if not entry.changes:
            return ()
        raise ContentUnavailable("GitHub shows no diff of it; it is too large")


def _kind(entry: ListedFile) -> FileKind:
    """The list of files tells no modes, but a submodule's patch is one that nothing else has."""
    patch = entry.patch or ""
    lines = [line for line in patch.split("\n") if line[:1] in ("+", "-")]
    if lines and all(line[1:].startswith("Subproject commit ") for line in lines):
        return FileKind.SUBMODULE
    return FileKind.REGULAR
