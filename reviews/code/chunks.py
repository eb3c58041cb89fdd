"""Cuts a source file into the pieces that are searched: a definition each, and what lies between them."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reviews.code.symbols import FoundSymbol

MAX_CHUNKS = 300
#: A definition that holds others and is longer than this is cut at them.
LONG_LINES = 80
#: A piece of one definition has at most so many lines, and a chunk so many characters.
MAX_LINES = 200
MAX_CHARACTERS = 20_000
#: Fewer lines between definitions say little.
LEAST_LINES = 4
#: So many lines of comments and decorators above a definition belong to it.
MAX_ABOVE = 30
MAX_SUFFIX = 160

_ABOVE = re.compile(r"\s*(#|//|/\*|\*|@|///|--)")


@dataclass(frozen=True)
class Chunk:
    """suffix: tells it from the others of its file, and stays when lines move. symbol: empty between definitions."""

    suffix: str
    symbol: str
    line: int
    end_line: int
    text: str


def cut(text: str, symbols: Sequence[FoundSymbol]) -> list[Chunk]:
    """The chunks of a file, in order of place. symbols: its definitions, in order of place."""
    lines = text.split("\n")
    units = list(_units(symbols, 1, len(lines)))
    pieces: list[tuple[str, int, int]] = []
    position = 1
    for name, first, last in units:
        start = _with_comments(lines, first, position)
        pieces += _between(lines, position, start - 1)
        pieces.append((name, start, last))
        position = max(position, last + 1)
    pieces += _between(lines, position, len(lines))
    return list(_numbered(lines, pieces))[:MAX_CHUNKS]


def _units(symbols: Sequence[FoundSymbol], first: int, last: int) -> Iterator[tuple[str, int, int]]:
    """(name, first line, last line) of definitions that lie beside each other, of long ones that of their parts."""
    position = first
    for index, symbol in enumerate(symbols):
        if symbol.kind == "constant" or symbol.line < position or symbol.line > last:
            continue
        end = min(symbol.end_line, last)
        inner = [one for one in symbols[index + 1 :] if symbol.line < one.line and one.end_line <= end]
        inner = [one for one in inner if one.kind != "constant"]
        if end - symbol.line >= LONG_LINES and inner:
            yield symbol.qualified_name, symbol.line, inner[0].line - 1
            yield from _units(inner, inner[0].line, end)
        else:
            yield symbol.qualified_name, symbol.line, end
        position = end + 1


def _with_comments(lines: Sequence[str], first: int, position: int) -> int:
    """The first of the lines of comments, decorators and attributes right above a definition."""
    start = first
    while start > max(position, first - MAX_ABOVE) and _ABOVE.match(lines[start - 2]):
        start -= 1
    return start


def _between(lines: Sequence[str], first: int, last: int) -> list[tuple[str, int, int]]:
    filled = [number for number in range(first, last + 1) if lines[number - 1].strip()]
    return [("", filled[0], filled[-1])] if len(filled) >= LEAST_LINES else []


def _numbered(lines: Sequence[str], pieces: Sequence[tuple[str, int, int]]) -> Iterator[Chunk]:
    seen: dict[str, int] = {}
    for name, first, last in pieces:
        for start in range(first, last + 1, MAX_LINES):
            end = min(start + MAX_LINES - 1, last)
            text = "\n".join(lines[start - 1 : end])[:MAX_CHARACTERS]
            if text.strip():
                seen[name] = number = seen.get(name, 0) + 1
                yield Chunk(_suffix(name, number), name, start, end, text)


def _suffix(name: str, number: int) -> str:
    name = "".join(char for char in name if char.isprintable())
    if len(name) > MAX_SUFFIX:
        name = f"{name[: MAX_SUFFIX - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{name or '(between)'}~{number}" if number > 1 or not name else name
