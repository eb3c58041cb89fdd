"""A file's hunks as text with the new file's line numbers, in pieces of a size that can be sent."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from reviews.analysis import secret_patterns
from reviews.changes import ContentUnavailable, FileChange, Hunk, Side

LINE_CHARACTERS = 400
WITHHELD = "[this line holds a secret and is not shown]"
BINARY_PROBE = 8000

Tokens = Callable[[str], int]


@dataclass(frozen=True)
class Line:
    """One line of a hunk as it is shown. row: where it stands at head; of a removed one, the line after it."""

    shown: str
    row: int
    changed: bool
    starts: bool


@dataclass(frozen=True)
class Piece:
    """Some lines of one file. first, last: numbers at head. changed: how many of them are added or removed."""

    path: str
    text: str
    tokens: int
    first: int
    last: int
    changed: int


def pieces_of(file: FileChange, most_tokens: int, tokens: Tokens, withheld: frozenset[int]) -> Iterator[Piece]:
    """The file's hunks, small ones together, large ones cut where a definition begins or a blank line stands.

    most_tokens: of one piece. withheld: lines of head that are not to be shown. Raises ContentUnavailable, before the
    first piece.
    """
    waiting: list[Line] = []
    room = most_tokens
    for hunk in _hunks(file, withheld):
        for part, size in _parts(hunk, most_tokens, tokens):
            if waiting and size > room:
                yield _piece(file.path, waiting, tokens)
                waiting, room = [], most_tokens
            waiting += part
            room -= size
    if waiting:
        yield _piece(file.path, waiting, tokens)


def _piece(path: str, lines: Sequence[Line], tokens: Tokens) -> Piece:
    text = "\n".join(_with_gaps(lines))
    changed = sum(line.changed for line in lines)
    return Piece(path, text, tokens(text), lines[0].row, max(line.row for line in lines), changed)


def _with_gaps(lines: Sequence[Line]) -> Iterator[str]:
    before = lines[0].row
    for line in lines:
        if line.row > before + 1:
            yield "       …"
        before = line.row
        yield line.shown


def _parts(lines: Iterable[Line], most_tokens: int, tokens: Tokens) -> Iterator[tuple[list[Line], int]]:
    """One hunk in parts of at most so many tokens, with their sizes; parts without a changed line are left out."""
    part: list[Line] = []
    size = 0
    for line in lines:
        needs = tokens(line.shown) + 1
        if part and size + needs > most_tokens:
            cut = _cut(part)
            if any(each.changed for each in part[:cut]):
                yield part[:cut], sum(tokens(each.shown) + 1 for each in part[:cut])
            part = part[cut:]
            size = sum(tokens(each.shown) + 1 for each in part)
        part.append(line)
        size += needs
    if any(each.changed for each in part):
        yield part, size


def _cut(part: Sequence[Line]) -> int:
    """Where to cut: before the last definition, or else blank line, in the second half; or else at the end."""
    half = len(part) // 2
    for is_good in (lambda line: line.starts, lambda line: not line.shown[8:].strip()):
        for index in range(len(part) - 1, max(half, 1), -1):
            if is_good(part[index]):
                return index
    return len(part)


def _hunks(file: FileChange, withheld: frozenset[int]) -> Iterator[Iterator[Line]]:
    hunks = file.hunks
    if not hunks:
        return
    new = _lines_of(file.head)
    removes = any(block.removed for block in file.blocks)
    try:
        old = _lines_of(file.base) if removes else []
    except ContentUnavailable:
        old = []
    withheld |= secret_patterns.key_rows(new, file.path)
    old_withheld = secret_patterns.key_rows(old, file.path)
    for hunk in hunks:
        yield (_without_secrets(line, file.path) for line in _lines(hunk, old, new, withheld, old_withheld))


def _without_secrets(line: Line, path: str) -> Line:
    """The analyser told of secrets in new lines; a line that is taken out, or moved, may hold one as well."""
    if not secret_patterns.find(line.shown, path):
        return line
    return replace(line, shown=f"{line.shown[:8]}{WITHHELD}")


def _lines_of(side: Side | None) -> list[bytes]:
    """Raises ContentUnavailable, also for what is no text."""
    content = b"" if side is None else side.load()
    if b"\0" in content[:BINARY_PROBE]:
        raise ContentUnavailable("binary")
    return content.split(b"\n")


def _lines(
    hunk: Hunk, old: list[bytes], new: list[bytes], withheld: frozenset[int], old_withheld: frozenset[int]
) -> Iterator[Line]:
    row, old_row = hunk.new.start, hunk.old.start
    for block in hunk.blocks:
        unchanged = block.removed.start - old_row if block.removed else block.added.start - row
        yield from (_line(" ", at, new, withheld) for at in range(row, row + unchanged))
        row, old_row = row + unchanged, old_row + unchanged + len(block.removed)
        yield from _removed(block.removed, row, old, old_withheld)
        yield from (_line("+", at, new, withheld) for at in block.added)
        row += len(block.added)
    yield from (_line(" ", at, new, withheld) for at in range(row, hunk.new.stop))


def _line(sign: str, row: int, new: list[bytes], withheld: frozenset[int]) -> Line:
    text = WITHHELD if row in withheld else _text(new, row)
    before = _text(new, row - 1) if row > 1 else ""
    starts = text[:1] not in ("", " ", "\t", "}", ")", "]") and not before.strip()
    return Line(f"{row:>6} {sign}{text}", row, sign == "+", starts)


def _removed(removed: range, row: int, old: list[bytes], withheld: frozenset[int]) -> Iterator[Line]:
    if removed and not old:
        yield Line(f"       -[{len(removed)} removed lines, which cannot be shown]", row, True, False)
        return
    for at in removed:
        yield Line(f"       -{WITHHELD if at in withheld else _text(old, at)}", row, True, False)


def _text(lines: list[bytes], row: int) -> str:
    """A line, from 1, without what would be read as anything but text."""
    raw = lines[row - 1][: 4 * LINE_CHARACTERS] if row <= len(lines) else b""
    text = "".join(
        char if char.isprintable() or char == "\t" else "\ufffd"
        for char in raw.rstrip(b"\r").decode("utf-8", "replace")
    )
    return text if len(text) <= LINE_CHARACTERS else f"{text[:LINE_CHARACTERS]}… [cut]"
