"""Names and calls that a change breaks: on its own lines, and in callers that it leaves as they are.

ty looks at the changed files and at those that mention what the change defines otherwise, at head and, where it says
something, at base; what base has too is not new. A caller outside the change is told at the changed definition.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reviews.analysis import callers, ty
from reviews.analysis.callers import ChangedDefinition
from reviews.analysis.eligibility import why_path_not_read
from reviews.analysis.source import Source, decode, is_python
from reviews.analysis.tools.base import ToolFailed
from reviews.changes import Change, ContentUnavailable, FileChange, FileKind
from reviews.git import GitError
from reviews.github.errors import GitHubError
from reviews.paths import PathPatterns
from reviews.providers.base import Finding, Severity, Trees

MAX_OWN_FILES = 200
NAMED_CALLERS = 5
# Told only where base had a sound use of it, so of callers alone.
_UNSURE = re.compile(r"^Object of type|`object\.__init__`")


@dataclass(frozen=True)
class Breaks:
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Break:
    """What ty says at head and not at base. line: its text there; symbol: around it."""

    said: ty.Broken
    line: str
    symbol: str


def breaks(change: Change, trees: Trees | None, *, excluded: PathPatterns) -> Breaks:
    """All that the change breaks; nothing, where the whole repository cannot be had."""
    python = [file for file in change.files if _is_python(file) and not excluded.matches(file.path)]
    if trees is None or not python:
        return Breaks()
    try:
        return _breaks(python, trees)
    except (ToolFailed, ContentUnavailable, GitError, GitHubError, OSError) as exc:
        return Breaks(notes=(f"types across files were not checked: {exc}",))


def _is_python(file: FileChange) -> bool:
    side = file.head or file.base
    if side is None or side.kind is not FileKind.REGULAR:
        return False
    return (is_python(file.path) or is_python(file.old_path or "")) and not why_path_not_read(file.path)


def _breaks(files: Sequence[FileChange], trees: Trees) -> Breaks:
    changed = callers.changed_definitions(files)
    with trees.head() as head:
        mentioning, cut = callers.mentioning(changed, head, {file.path for file in files})
        own = [file.path for file in files if file.head is not None and callers.is_regular(head, file.path)]
        looked_at = [*own[:MAX_OWN_FILES], *mentioning]
        notes = (
            [f"types were checked in the {len(mentioning)} files that most likely use what is changed"] if cut else []
        )
        if len(own) > MAX_OWN_FILES:
            notes.append(f"types were checked in {MAX_OWN_FILES} of the {len(own)} changed files")
        said = ty.check(head, looked_at) if looked_at else []
        at_head = [one for one in said if callers.is_first_party(one, head)]
        # Few changes come so far, so the other side is written out only here.
        before = _said_at_base(at_head, {file.path: file.old_path or file.path for file in files}, trees)
        new = _new(at_head, before, head)
    return Breaks(tuple(_findings(new, {file.path: file for file in files}, changed)), tuple(notes))


def _said_at_base(
    at_head: Sequence[ty.Broken], old_paths: dict[str, str], trees: Trees
) -> Counter[tuple[str, str, str, str]]:
    """How often base says what, by (path at head, rule, message, line)."""
    if not at_head:
        return Counter()
    at_base = {old_paths.get(one.path, one.path): one.path for one in at_head}
    with trees.base() as base:
        there = [path for path in at_base if callers.is_regular(base, path)]
        said = ty.check(base, there) if there else []
        sources = _Sources(base)
        return Counter(
            (at_base[one.path], one.rule, one.message, sources.line(one)) for one in said if one.path in at_base
        )


class _Sources:
    """Lines of files in a tree."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._read: dict[str, Source] = {}

    def of(self, path: str) -> Source:
        if path not in self._read:
            self._read[path] = Source(decode((self._tree / path).read_bytes())[0])
        return self._read[path]

    def line(self, said: ty.Broken) -> str:
        return self.of(said.path).line(said.row)


def _new(at_head: Iterable[ty.Broken], before: Counter[tuple[str, str, str, str]], head: Path) -> list[_Break]:
    sources = _Sources(head)
    new = []
    for said in at_head:
        key = (said.path, said.rule, said.message, sources.line(said))
        if before[key] > 0:
            before[key] -= 1
        else:
            new.append(_Break(said, key[3], sources.of(said.path).symbol(said.row)))
    return new


def _findings(
    new: Sequence[_Break], files: dict[str, FileChange], changed: Sequence[ChangedDefinition]
) -> Iterable[Finding]:
    of_callers: dict[ChangedDefinition, list[_Break]] = defaultdict(list)
    for found in new:
        file = files.get(found.said.path)
        if file is not None and found.said.row in file.changed_lines:
            if not _UNSURE.search(found.said.message):
                yield _on_changed_line(found)
        elif (definition := callers.cause_of(found.said, found.line, changed)) is not None:
            of_callers[definition].append(found)
    for definition, broken in of_callers.items():
        line = definition.anchor(files[definition.path])
        if line is not None:
            yield _on_definition(definition, line, broken)


def _on_changed_line(found: _Break) -> Finding:
    said = found.said
    return _finding(said.path, said.row, said.rule, said.message, found.line, found.symbol)


def _on_definition(definition: ChangedDefinition, line: int, broken: Sequence[_Break]) -> Finding:
    """One finding for all the places that a changed definition breaks; line: one that the diff shows."""
    places = list(dict.fromkeys(f"`{one.said.path}:{one.said.row}`" for one in broken))
    named = ", ".join(places[:NAMED_CALLERS])
    if len(places) > NAMED_CALLERS:
        named += f" and {len(places) - NAMED_CALLERS} more"
    one = len(places) == 1
    count = (
        "a place that the change leaves as it is" if one else f"{len(places)} places that the change leaves as they are"
    )
    said = broken[0].said
    message = f"This breaks {count}: {named}. {said.message}"
    return _finding(definition.path, line, said.rule, message, definition.line, definition.name)


def _finding(path: str, line: int, rule: str, message: str, source_line: str, symbol: str) -> Finding:
    key = "\0".join((f"ty/{rule}", source_line, symbol))
    return Finding(
        path=path,
        line=line,
        end_line=line,
        rule=f"ty/{rule}",
        message=message[:1000],
        severity=Severity.HIGH,
        source_line=source_line[:300],
        symbol=symbol,
        fingerprint=hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32],
        category="bug",
    )
