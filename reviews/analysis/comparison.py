"""Which findings at head are new: head against base, as multisets, so that lines may move and nothing comes back."""

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from reviews.analysis.source import Source, Undecodable
from reviews.analysis.tools import hadolint, oxlint, ruff, shellcheck
from reviews.analysis.tools.base import Diagnostic, Edit
from reviews.changes import Block, ContentUnavailable, FileChange, LineRanges

UNREADABLE = "E902"
BREAKS_THE_FILE = frozenset({ruff.SYNTAX, UNREADABLE, oxlint.SYNTAX, hadolint.SYNTAX, *shellcheck.SYNTAX})

Key = tuple[str, str, str, str]
MovedKey = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Observation:
    """A diagnostic with what tells it apart from others wherever it stands.

    row, end_row: git's lines. anchor: the changed line to speak of it at, None when no changed line has to do with it.
    tool: who says it. line: masked, where it holds a secret; secret: that one, which is compared and never stored.
    """

    rule: str
    message: str
    row: int
    end_row: int
    line: str
    symbol: str
    surroundings: tuple[str, str]
    anchor: int | None = None
    tool: str = ruff.Ruff.name
    severity: str = ""
    secret: str = field(default="", repr=False)
    fix: tuple[Edit, ...] = ()

    @property
    def key(self) -> Key:
        """Rule, line, symbol and secret."""
        return self.rule, self.line, self.symbol, self.secret

    @property
    def moved_key(self) -> MovedKey:
        """A line together with its neighbours: the same code elsewhere."""
        return self.rule, self.surroundings[0], self.line, self.surroundings[1], self.secret

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join(self.key[:3]).encode("utf-8", "replace")).hexdigest()[:32]

    @property
    def breaks_the_file(self) -> bool:
        return self.rule in BREAKS_THE_FILE


@dataclass
class Compared:
    """One file: what may be new in it, and what that is compared with.

    head: the candidates, on changed lines or breaking the file. unchanged: how often the other lines of head say the
    same as a candidate, by its key. base: what may match a candidate; None until it is needed, or where there is none.
    """

    change: FileChange
    head: list[Observation] = field(default_factory=list)
    unchanged: Counter[Key] = field(default_factory=Counter)
    base: list[Observation] | None = None

    def forget_keys(self) -> None:
        """To be called when `head` has changed."""
        for name in ("keys", "_sayings"):
            self.__dict__.pop(name, None)

    @cached_property
    def keys(self) -> frozenset[Key]:
        return frozenset(seen.key for seen in self.head)

    @cached_property
    def _sayings(self) -> frozenset[tuple[str, str, str]]:
        return frozenset((seen.rule, seen.message, seen.secret) for seen in self.head)

    @cached_property
    def _removed(self) -> LineRanges | None:
        """Lines of base that head has no longer; None for all of them."""
        try:
            blocks = self.change.blocks if self.change.head is not None else None
        except ContentUnavailable:
            # Only a file in which head has no diagnostic comes here, so whatever base has is gone.
            blocks = None
        return None if blocks is None else LineRanges(tuple(block.removed for block in blocks if block.removed))

    def is_removed(self, row: int) -> bool:
        return self._removed is None or row in self._removed

    def concerns(self, seen: Observation, moved_keys: frozenset[MovedKey]) -> bool:
        """Whether an observation at base can match a candidate, of this file or, by `moved_keys`, of any."""
        if seen.key in self.keys or seen.breaks_the_file:
            return True
        matches = (seen.rule, seen.message, seen.secret) in self._sayings or seen.moved_key in moved_keys
        return matches and self.is_removed(seen.row)


def observation(source: Source, diagnostic: Diagnostic, anchor: int | None = None, tool: str = "") -> Observation:
    """Place a diagnostic in its source."""
    row, end_row = _rows(source, diagnostic)
    return Observation(
        rule=diagnostic.rule,
        message=source.masked(diagnostic.message)[:500],
        row=row,
        end_row=end_row,
        line=source.line(row),
        symbol=source.symbol(row),
        surroundings=source.neighbours(row),
        anchor=anchor,
        tool=tool,
        severity=diagnostic.severity,
        secret=diagnostic.secret,
        fix=diagnostic.fix,
    )


def key_of(source: Source, diagnostic: Diagnostic) -> Key:
    """The key that the diagnostic's observation would have."""
    row = source.row_of(diagnostic.row)
    return diagnostic.rule, source.line(row), source.symbol(row), diagnostic.secret


def _rows(source: Source, diagnostic: Diagnostic) -> tuple[int, int]:
    row = source.row_of(diagnostic.row)
    return row, max(row, source.row_of(diagnostic.end_row))


def undecodable_observation(undecodable: Undecodable, changed: LineRanges | None = None) -> Observation:
    """What keeps Python from decoding a file. changed: the changed lines of head; None for base."""
    row = undecodable.row
    anchor = row if changed is not None and row in changed else None
    message = f"Python cannot read this file: {undecodable.message}"
    return Observation(UNREADABLE, message, row, row, "", "", ("", ""), anchor)


def anchor_of(source: Source, diagnostic: Diagnostic, changed: LineRanges) -> int | None:
    """The first changed line of what the diagnostic spans, or else of the statement that it begins.

    Ruff names the function of a call where it means an argument, which may stand some lines below.
    """
    row, end_row = _rows(source, diagnostic)
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
    gone: Counter[MovedKey] = Counter()
    for file in files:
        left, lost = _against_base(file)
        gone.update(seen.moved_key for seen in lost if file.is_removed(seen.row))
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
    at_base: dict[Key, list[Observation]] = defaultdict(list)
    # Taken from the end: what is still there first, by the lines of head that are not changed either.
    for seen in sorted(file.base or (), key=lambda seen: not file.is_removed(seen.row)):
        at_base[seen.key].append(seen)
    # Of two equal ones, one on an unchanged line is the one that was there, and one on a changed line is new.
    for key, count in file.unchanged.items():
        if key in at_base:
            del at_base[key][max(0, len(at_base[key]) - count) :]
    left = []
    for seen in sorted(file.head, key=lambda seen: seen.anchor is not None):
        if at_base.get(seen.key):
            at_base[seen.key].pop()
        else:
            left.append(seen)
    lost = [seen for rest in at_base.values() for seen in rest]
    kept, lost = _without_edited(_Blocks(file.change.blocks if left and lost else ()), _syntax_once(file, left), lost)
    return sorted(kept, key=lambda seen: seen.row), lost


class _Blocks:
    """Which block of adjacent changed lines a line is in, by its index."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._added = _spans((index, block.added) for index, block in enumerate(blocks))
        self._removed = _spans((index, block.removed) for index, block in enumerate(blocks))

    def adding(self, row: int | None) -> int | None:
        return None if row is None else _span_of(self._added, row)

    def removing(self, row: int) -> int | None:
        return _span_of(self._removed, row)


_Spans = tuple[list[int], list[tuple[int, range]]]


def _spans(indexed: Iterable[tuple[int, range]]) -> _Spans:
    found = sorted(((index, lines) for index, lines in indexed if lines), key=lambda span: span[1].start)
    return [lines.start for _, lines in found], found


def _span_of(spans: _Spans, row: int) -> int | None:
    starts, found = spans
    at = bisect_right(starts, row) - 1
    return found[at][0] if at >= 0 and row in found[at][1] else None


def _without_edited(
    blocks: _Blocks, left: list[Observation], lost: list[Observation]
) -> tuple[list[Observation], list[Observation]]:
    """Drop what a line said already before it was edited: (what is left of `left`, and of `lost`)."""
    before: dict[tuple[int | None, str, str, str], deque[Observation]] = defaultdict(deque)
    rest: list[Observation] = []
    for seen in lost:
        block = blocks.removing(seen.row)
        if block is None:
            rest.append(seen)
        else:
            before[block, seen.rule, seen.message, seen.secret].append(seen)
    kept = []
    for seen in left:
        same = before.get((blocks.adding(seen.anchor), seen.rule, seen.message, seen.secret))
        if same:
            same.popleft()
        else:
            kept.append(seen)
    return kept, rest + [seen for same in before.values() for seen in same]


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
    return replace(seen, anchor=anchor, message=message)
