"""Which findings at head are new: head against base, as multisets, so that lines may move and nothing comes back."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from reviews.analysis.ruff import SYNTAX, Diagnostic
from reviews.analysis.source import Source, Undecodable
from reviews.changes import FileChange, LineRanges

UNREADABLE = "E902"
_BREAKS_THE_FILE = (SYNTAX, UNREADABLE)


@dataclass(frozen=True)
class Observation:
    """A diagnostic with what tells it apart from others wherever it stands.

    row, end_row: git's lines. anchor: the changed line to speak of it at, None when no changed line has to do with it.
    """

    rule: str
    message: str
    row: int
    end_row: int
    line: str
    symbol: str
    surroundings: tuple[str, str]
    anchor: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.rule, self.line, self.symbol

    @property
    def moved_key(self) -> tuple[str, str, str, str]:
        """A line together with its neighbours: the same code elsewhere."""
        return self.rule, self.surroundings[0], self.line, self.surroundings[1]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join(self.key).encode("utf-8", "replace")).hexdigest()[:32]

    @property
    def breaks_the_file(self) -> bool:
        return self.rule in _BREAKS_THE_FILE


@dataclass
class Compared:
    """One file's observations. base stays None until it is needed, or where there is none."""

    change: FileChange
    head: list[Observation] = field(default_factory=list)
    base: list[Observation] | None = None

    @property
    def candidates(self) -> list[Observation]:
        return [seen for seen in self.head if seen.anchor is not None or seen.breaks_the_file]


def observe(
    source: Source, diagnostics: Sequence[Diagnostic], undecodable: Undecodable | None, changed: LineRanges | None
) -> list[Observation]:
    """Place diagnostics in their source. changed: the changed lines of head; None for base, where none is anchored."""
    seen = [_place(source, diagnostic, changed) for diagnostic in diagnostics]
    if undecodable is not None:
        anchor = undecodable.row if changed is not None and undecodable.row in changed else None
        message = f"Python cannot read this file: {undecodable.message}"
        seen.append(Observation(UNREADABLE, message, undecodable.row, undecodable.row, "", "", ("", ""), anchor))
    return seen


def _place(source: Source, diagnostic: Diagnostic, changed: LineRanges | None) -> Observation:
    row = source.row_of(diagnostic.row)
    end_row = max(row, source.row_of(diagnostic.end_row))
    return Observation(
        rule=diagnostic.rule,
        message=diagnostic.message[:500],
        row=row,
        end_row=end_row,
        line=source.line(row),
        symbol=source.symbol(row),
        surroundings=source.neighbours(row),
        anchor=None if changed is None else _anchor(source, diagnostic, row, end_row, changed),
    )


def _anchor(source: Source, diagnostic: Diagnostic, row: int, end_row: int, changed: LineRanges) -> int | None:
    """The first changed line of what the diagnostic spans, or else of the statement that it begins.

    Ruff names the function of a call where it means an argument, which may stand some lines below.
    """
    anchor = changed.first_within(row, end_row)
    if anchor is None and changed.first_within(row, row + 100) is not None:
        anchor = changed.first_within(row, source.statement_end(row, diagnostic.column))
    return anchor


def new_observations(files: Sequence[Compared]) -> dict[str, list[Observation]]:
    """Path at head → what is new there and has a changed line, in the order of the file.

    Not new is what base has with the same rule, line and symbol; what an edited line said before it was edited; and
    what stood, with its neighbours, elsewhere in the change and is gone from there.
    """
    new: dict[str, list[Observation]] = {}
    gone: Counter[tuple[str, str, str, str]] = Counter()
    for file in files:
        left, lost = _against_base(file)
        gone.update(seen.moved_key for seen in lost)
        new[file.change.path] = left
    for path, observations in new.items():
        kept = []
        for seen in observations:
            if not seen.breaks_the_file and gone[seen.moved_key] > 0:
                gone[seen.moved_key] -= 1
            else:
                kept.append(seen)
        new[path] = kept
    return new


def _against_base(file: Compared) -> tuple[list[Observation], list[Observation]]:
    """(new at head, gone from base) of one file."""
    at_base: dict[tuple[str, str, str], list[Observation]] = defaultdict(list)
    for seen in file.base or ():
        at_base[seen.key].append(seen)
    left = []
    # Those on unchanged lines first: of two equal ones, the one on a changed line is the new one.
    for seen in sorted(file.head, key=lambda seen: seen.anchor is not None):
        if at_base[seen.key]:
            at_base[seen.key].pop()
        elif seen.anchor is not None or seen.breaks_the_file:
            left.append(seen)
    lost = [seen for rest in at_base.values() for seen in rest]
    kept = _without_edited(file.change, _syntax_once(file, left), lost)
    return sorted(kept, key=lambda seen: seen.row), lost


def _without_edited(change: FileChange, left: list[Observation], lost: list[Observation]) -> list[Observation]:
    """Drop what a line said already before it was edited; takes those lines' observations out of `lost`."""
    kept = []
    for seen in left:
        block = next((block for block in change.blocks if seen.anchor in block.added), None) if lost else None
        before = next(
            (
                old
                for old in lost
                if block and old.row in block.removed and (old.rule, old.message) == (seen.rule, seen.message)
            ),
            None,
        )
        if before is None:
            kept.append(seen)
        else:
            lost.remove(before)
    return kept


def _syntax_once(file: Compared, left: list[Observation]) -> list[Observation]:
    """Of the errors that keep a file from being read, one: a parser that is lost says many things.

    It may stop far below the line that broke it; then the error is told at the nearest changed line.
    """
    broken = sorted((seen for seen in left if seen.breaks_the_file), key=lambda seen: seen.row)
    kept = [seen for seen in left if not seen.breaks_the_file]
    broken_before = any(seen.breaks_the_file for seen in file.base or ())
    on_changed = next((seen for seen in broken if seen.anchor is not None), None)
    if broken and not broken_before:
        kept.append(broken[0] if broken[0].anchor is not None else _at_nearest_change(file.change, broken[0]))
    elif on_changed is not None:
        kept.append(on_changed)
    return [seen for seen in kept if seen.anchor is not None]


def _at_nearest_change(change: FileChange, seen: Observation) -> Observation:
    anchor = change.changed_lines.nearest(seen.row)
    message = f"{seen.message} (the parser stops at line {seen.row})"
    return Observation(**{**vars(seen), "anchor": anchor, "message": message})
