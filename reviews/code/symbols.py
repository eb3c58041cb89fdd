"""Definitions and uses of names in a source file, by tree-sitter.

Sources are hostile: `parsing.Parser` calls this in a child process that may be killed, and nobody else should.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from reviews.code.queries import QUERIES, SHELL_COMMANDS

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Parser, Query

    Captures = Mapping[str, list[Node]]

MAX_SYMBOLS = 5_000
MAX_REFERENCES = 20_000
MAX_NAME = 255
MAX_QUALIFIED_NAME = 1_000
MAX_SIGNATURE = 600
#: Half-made matches at a time: what is beyond is left out, so that a strange file costs no more than others.
MATCH_LIMIT = 10_000

CALL, USE, IMPORT = "call", "use", "import"
CONTAINER = "container"

_GRAMMARS = {
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
}
_BLANKS = re.compile(r"\s+")
_GO_RECEIVER = re.compile(r"(\w+)\s*(?:\[[^\]]*\])?\s*\)\s*$")


@dataclass(frozen=True)
class FoundSymbol:
    """A definition. line, end_line: from 1, both included. signature: what stands before its body, on one line."""

    name: str
    qualified_name: str
    kind: str
    line: int
    end_line: int
    signature: str


@dataclass(frozen=True)
class FoundReference:
    """A use of a name. kind: call, use or import. enclosing: the qualified name of the definition it stands in."""

    name: str
    kind: str
    receiver: str
    line: int
    enclosing: str


@dataclass(frozen=True)
class Parsed:
    """What a file defines and uses, in order of place. is_partial: it had more than is kept, or does not parse."""

    symbols: list[FoundSymbol] = field(default_factory=list)
    references: list[FoundReference] = field(default_factory=list)
    is_partial: bool = False


@dataclass
class _Scope:
    start: int
    end: int
    name: str
    kind: str
    line: int
    end_line: int
    signature: str
    outer: str = ""
    qualified_name: str = ""


def parse(language: str, source: bytes) -> Parsed:
    """Read a source. language: one of `languages.LANGUAGES`. Raises KeyError for another one."""
    from tree_sitter import QueryCursor

    query = _query(language)
    tree = _parser(language).parse(source)
    cursor = QueryCursor(query, match_limit=MATCH_LIMIT)
    definitions: dict[tuple[int, int, str], _Scope] = {}
    uses: dict[tuple[int, str, str], tuple[int, str, str, str, int]] = {}
    for _, captures in cursor.matches(tree.root_node):
        for name, nodes in captures.items():
            if name.startswith("def.") or name == CONTAINER:
                scope = _definition(language, name.removeprefix("def."), nodes[0], captures)
                definitions.setdefault((scope.start, scope.end, scope.name), scope)
            elif name in (CALL, USE, IMPORT):
                for use in _uses(language, name, nodes[0], captures):
                    uses.setdefault((use[0], use[1], use[2]), use)
    scopes = sorted(definitions.values(), key=lambda scope: (scope.start, -scope.end))
    _qualify(scopes)
    kept = [scope for scope in scopes if scope.kind != CONTAINER]
    references = list(_enclosed(sorted(uses.values()), scopes))
    return Parsed(
        [_symbol(scope) for scope in kept[:MAX_SYMBOLS]],
        references[:MAX_REFERENCES],
        tree.root_node.has_error or cursor.did_exceed_match_limit
        or len(kept) > MAX_SYMBOLS or len(references) > MAX_REFERENCES,
    )  # fmt: skip


@cache
def _language(language: str) -> "Language":
    from tree_sitter import Language

    module, function = _GRAMMARS.get(language, (f"tree_sitter_{language}", "language"))
    return Language(getattr(import_module(module), function)())


@cache
def _parser(language: str) -> "Parser":
    from tree_sitter import Parser

    return Parser(_language(language))


@cache
def _query(language: str) -> "Query":
    from tree_sitter import Query

    return Query(_language(language), QUERIES[language])


def _text(node: "Node", limit: int = MAX_NAME) -> str:
    """On one line; what Postgres cannot keep is left out."""
    raw = (node.text or b"")[: limit * 4]
    return _BLANKS.sub(" ", raw.decode("utf-8", "replace").replace("\x00", "")).strip()[:limit]


def _definition(language: str, kind: str, node: "Node", captures: "Captures") -> _Scope:
    name = _text(captures["name"][0])
    scope = _text(captures["scope"][0]) if "scope" in captures else ""
    if language == "go" and scope:
        found = _GO_RECEIVER.search(scope)
        scope = found.group(1) if found else ""
    scope, name = _without_path(scope, name)
    return _Scope(
        start=node.start_byte,
        end=node.end_byte,
        name=name,
        kind=kind,
        line=node.start_point[0] + 1,
        end_line=max(node.end_point[0] + (1 if node.end_point[1] else 0), node.start_point[0] + 1),
        signature=_signature(node),
        outer=scope.replace("::", "."),
    )


def _signature(node: "Node") -> str:
    """What stands before the body; of `const f = () => {…}`, before the body of the function."""
    body = node.child_by_field_name("body")
    if body is None:
        value = node.child_by_field_name("value") or node.child_by_field_name("right")
        body = None if value is None else value.child_by_field_name("body")
    text = node.text or b""
    if body is not None:
        text = text[: body.start_byte - node.start_byte]
    folded = _BLANKS.sub(" ", text[: MAX_SIGNATURE * 4].decode("utf-8", "replace").replace("\x00", ""))
    return folded.strip().rstrip("{:").strip()[:MAX_SIGNATURE]


def _uses(language: str, kind: str, node: "Node", captures: "Captures") -> Iterator[tuple[int, str, str, str, int]]:
    """(byte, name, kind, receiver, line) of each name that a match uses."""
    where = captures.get("module") or captures.get("receiver")
    receiver = _text(where[0]).strip("\"'`<>") if where else ""
    for name_node in captures["name"]:
        name = _text(name_node).strip("\"'`<>")
        if kind == IMPORT and not where:
            receiver, name = _split(language, name)
        receiver, name = _without_path(receiver, name)
        if name and not (language == "bash" and kind == CALL and name in SHELL_COMMANDS):
            yield name_node.start_byte, name, kind, receiver, name_node.start_point[0] + 1


def _without_path(outer: str, name: str) -> tuple[str, str]:
    """`a` and `b::c`, as C++ nests it: `a::b` and `c`. Of a long path its end, which tells most, is kept."""
    path, colons, last = name.rpartition("::")
    return (f"{outer}::{path}"[-MAX_NAME:], last) if colons else (outer, name)


def _split(language: str, name: str) -> tuple[str, str]:
    """`import a.b`, `import "net/http"`, `#include <a/b.h>`: what it comes from, and its last part."""
    outer, _, last = name.rpartition("." if language == "python" else "/")
    return outer, last


def _qualify(scopes: list[_Scope]) -> None:
    """Give each scope its dotted name. scopes: by start, the outer before the inner."""
    around: list[_Scope] = []
    for scope in scopes:
        while around and around[-1].end <= scope.start:
            around.pop()
        outer = [around[-1].qualified_name] if around and around[-1].qualified_name else []
        name = ".".join([*outer, scope.outer, scope.name] if scope.outer else [*outer, scope.name])
        scope.qualified_name = name[-MAX_QUALIFIED_NAME:]
        if scope.kind != "constant":
            around.append(scope)


def _enclosed(uses: list[tuple[int, str, str, str, int]], scopes: list[_Scope]) -> Iterator[FoundReference]:
    """The uses, each with the innermost definition around it. Both are in order of place."""
    around: list[_Scope] = []
    following = iter([scope for scope in scopes if scope.kind not in (CONTAINER, "constant")])
    ahead = next(following, None)
    for start, name, kind, receiver, line in uses:
        while ahead is not None and ahead.start <= start:
            around.append(ahead)
            ahead = next(following, None)
        # Those that have ended lie anywhere below the innermost: a later scope may end before an earlier one.
        around = [scope for scope in around if scope.end > start]
        yield FoundReference(name, kind, receiver, line, around[-1].qualified_name if around else "")


def _symbol(scope: _Scope) -> FoundSymbol:
    return FoundSymbol(scope.name, scope.qualified_name, scope.kind, scope.line, scope.end_line, scope.signature)
