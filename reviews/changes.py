"""A change as a reviewer sees it: two commits, and the files that differ, with content that is read when asked for."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


class ContentUnavailable(Exception):
    """A file's content cannot be had; the message says why, in words for the coverage of a review.

    is_missing: there is no such file.
    """

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        super().__init__(message)
        self.is_missing = is_missing


class FileStatus(StrEnum):
    ADDED = "added"
    MODIFIED = "modified"
    RENAMED = "renamed"
    COPIED = "copied"
    DELETED = "deleted"


class FileKind(StrEnum):
    REGULAR = "file"
    SYMLINK = "symbolic link"
    SUBMODULE = "submodule"


@dataclass(frozen=True)
class Block:
    """Adjacent lines that replace one another: line numbers, from 1, on the base and on the head side."""

    removed: range
    added: range


@dataclass(frozen=True)
class Hunk:
    """One hunk of a unified diff. old and new: its lines on each side, context included; either may be empty."""

    old: range
    new: range
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class LineRanges:
    """Line numbers as sorted ranges that do not touch: a file of half a million new lines is one of them."""

    ranges: tuple[range, ...]
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_starts", tuple(part.start for part in self.ranges))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, line: int) -> bool:
        return self.range_of(line) is not None

    def __iter__(self) -> Iterator[int]:
        for part in self.ranges:
            yield from part

    def range_of(self, line: int) -> range | None:
        index = bisect_right(self._starts, line) - 1
        return self.ranges[index] if index >= 0 and line in self.ranges[index] else None

    def first_within(self, start: int, end: int) -> int | None:
        """The first line from start to end, both included."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        for part in self.ranges[index : index + 2]:
            if part.stop > start:
                return max(part.start, start) if part.start <= end else None
        return None

    def nearest(self, line: int) -> int | None:
        """The last line at or before `line`, else the first after it."""
        index = bisect_right(self._starts, line) - 1
        if index >= 0:
            return min(line, self.ranges[index].stop - 1)
        return self.ranges[0].start if self.ranges else None


@dataclass(frozen=True)
class Side:
    """A file on one side of a change. load: its bytes; raises ContentUnavailable."""

    kind: FileKind
    load: Callable[[], bytes]


@dataclass(frozen=True)
class FileChange:
    """One file that differs.

    old_path: its path at base, where it had another one. base is None for an added file, head for a deleted one.
    load_hunks: the hunks between the two; raises ContentUnavailable.
    anchored: whether its hunks are those that the forge shows, so that a comment may be put on their lines.
    """

    path: str
    status: FileStatus
    base: Side | None
    head: Side | None
    load_hunks: Callable[[], tuple[Hunk, ...]]
    old_path: str | None = None
    anchored: bool = True

    @cached_property
    def hunks(self) -> tuple[Hunk, ...]:
        return self.load_hunks()

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(block for hunk in self.hunks for block in hunk.blocks)

    @cached_property
    def changed_lines(self) -> LineRanges:
        """Lines of head that were added or modified."""
        return LineRanges(tuple(block.added for block in self.blocks if block.added))

    def hunk_of(self, line: int) -> Hunk | None:
        """The hunk that shows a line of head, as added or as context."""
        return next((hunk for hunk in self.hunks if line in hunk.new), None)


@dataclass(frozen=True)
class Change:
    """What is reviewed. base: the merge base of the two sides; notes: what a reader of the review should know."""

    base: str
    head: str
    files: tuple[FileChange, ...]
    notes: tuple[str, ...] = ()


def line_count(content: bytes) -> int:
    """Lines as git counts them: a last line without a newline is one too."""
    return content.count(b"\n") + (0 if content.endswith(b"\n") or not content else 1)


def whole_file(content: bytes) -> tuple[Hunk, ...]:
    """The hunks of an added file."""
    lines = range(1, line_count(content) + 1)
    return (Hunk(range(0), lines, (Block(range(0), lines),)),) if lines else ()
