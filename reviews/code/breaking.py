"""What a change does to definitions: takes them away, moves them, or alters their signature or their body."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from reviews.changes import Change, ContentUnavailable, FileChange, FileKind, Side
from reviews.code import languages
from reviews.code.languages import MAX_FILE_BYTES
from reviews.code.parsing import NotParsed, Parser, parser
from reviews.code.symbols import FoundSymbol

MOST_FILES = 200
MOST_DEFINITIONS = 200
#: Calling one of these is done by the name of what it stands in.
_CONSTRUCTORS = frozenset({"__init__", "__new__", "constructor", "initialize", "new"})
_WITH_BODY = frozenset({"function", "method", "macro"})


class Effect(IntEnum):
    """What happens to a definition; the lower, the more its users have to do with it."""

    REMOVED = 0
    SIGNATURE = 1
    MOVED = 2
    BODY = 3


@dataclass(frozen=True)
class ChangedDefinition:
    """called: the name that its users write. outer: what it stands in, empty for a definition of the file's own."""

    path: str
    qualified_name: str
    called: str
    outer: str
    effect: Effect


def changed_definitions(change: Change) -> list[ChangedDefinition]:
    """Those of at most 200 files, the most far-reaching first. What cannot be read or parsed has none."""
    found: list[ChangedDefinition] = []
    at_head: dict[str, set[str]] = {}
    files = [file for file in change.files if file.base is not None or file.head is not None]
    with parser() as reading:
        for file in [file for file in files if languages.language_of(file.path)][:MOST_FILES]:
            base, head = _definitions(reading, file.path, file.base), _definitions(reading, file.path, file.head)
            if base is None or head is None:
                continue
            for name in head:
                at_head.setdefault(name, set()).add(file.path)
            found += _compared(file, base, head)
    moved = [_as_moved(one, at_head) for one in found]
    return sorted(moved, key=lambda one: one.effect)[:MOST_DEFINITIONS]


#: Qualified name → the definition and its lines.
_Definitions = Mapping[str, tuple[FoundSymbol, str]]


def _definitions(reading: Parser, path: str, side: Side | None) -> _Definitions | None:
    """None where they cannot be known."""
    if side is None:
        return {}
    try:
        content = side.load() if side.kind is FileKind.REGULAR else b""
        if len(content) > MAX_FILE_BYTES or languages.why_not_content(content):
            return None
        parsed = reading.parse(path, content)
    except (ContentUnavailable, NotParsed):
        return None
    lines = content.decode("utf-8", "replace").split("\n")
    found: dict[str, tuple[FoundSymbol, str]] = {}
    for symbol in parsed.symbols:
        found.setdefault(symbol.qualified_name, (symbol, "\n".join(lines[symbol.line - 1 : symbol.end_line])))
    return found


def _compared(file: FileChange, base: _Definitions, head: _Definitions) -> Iterator[ChangedDefinition]:
    for name, (before, text) in base.items():
        if name not in head:
            # With a class, its methods go too: one word about it is enough.
            if name.rpartition(".")[0] not in base or name.rpartition(".")[0] in head:
                yield _changed(file, before, Effect.REMOVED)
            continue
        after, new_text = head[name]
        if before.signature != after.signature and before.kind != "constant":
            yield _changed(file, before, Effect.SIGNATURE)
        elif text != new_text and before.kind in _WITH_BODY:
            yield _changed(file, before, Effect.BODY)


def _changed(file: FileChange, symbol: FoundSymbol, effect: Effect) -> ChangedDefinition:
    outer = symbol.qualified_name.rpartition(".")[0]
    name = symbol.name
    if outer and (name in _CONSTRUCTORS or name == outer.rpartition(".")[2]):
        outer, _, name = outer.rpartition(".")
    return ChangedDefinition(file.old_path or file.path, symbol.qualified_name, name, outer, effect)


def _as_moved(one: ChangedDefinition, at_head: Mapping[str, set[str]]) -> ChangedDefinition:
    """One that is gone here, and is there in another file of the change."""
    if one.effect is not Effect.REMOVED or not at_head.get(one.qualified_name, set()) - {one.path}:
        return one
    return ChangedDefinition(one.path, one.qualified_name, one.called, one.outer, Effect.MOVED)
