"""A change of texts in memory, with both sides as folders."""

import difflib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reviews.changes import Block, Change, FileChange, FileKind, FileStatus, Hunk, Side, whole_file


def change_of(base: Mapping[str, str], head: Mapping[str, str]) -> Change:
    paths = sorted(path for path in {*base, *head} if base.get(path) != head.get(path))
    return Change("base", "head", tuple(_file(path, base.get(path), head.get(path)) for path in paths))


def _file(path: str, before: str | None, after: str | None) -> FileChange:
    status = FileStatus.ADDED if before is None else FileStatus.DELETED if after is None else FileStatus.MODIFIED
    return FileChange(path, status, _side(before), _side(after), lambda: _hunks(before, after))


def _side(text: str | None) -> Side | None:
    return None if text is None else Side(FileKind.REGULAR, text.encode)


def _hunks(before: str | None, after: str | None) -> tuple[Hunk, ...]:
    if after is None:
        return ()
    if before is None:
        return whole_file(after.encode())
    old, new = _lines(before), _lines(after)
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    return tuple(_hunk(group) for group in matcher.get_grouped_opcodes(3))


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _hunk(group: Sequence[tuple[str, int, int, int, int]]) -> Hunk:
    blocks = tuple(Block(range(a + 1, b + 1), range(c + 1, d + 1)) for tag, a, b, c, d in group if tag != "equal")
    return Hunk(range(group[0][1] + 1, group[-1][2] + 1), range(group[0][3] + 1, group[-1][4] + 1), blocks)


@dataclass(frozen=True)
class FolderTrees:
    """See `providers.base.Trees`."""

    at_base: Mapping[str, str]
    at_head: Mapping[str, str]

    def base(self) -> AbstractContextManager[Path]:
        return _written(self.at_base)

    def head(self) -> AbstractContextManager[Path]:
        return _written(self.at_head)


@contextmanager
def _written(files: Mapping[str, str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="switchyard-tree-") as name:
        for path, text in files.items():
            target = Path(name) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        yield Path(name)
