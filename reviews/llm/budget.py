"""What of a change is sent to a language model, in how many requests, and what cannot be."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reviews.changes import Change, ContentUnavailable, FileChange, FileKind, FileStatus
from reviews.llm.pieces import Piece, Tokens, pieces_of
from reviews.llm.risk import by_risk
from reviews.paths import PathPatterns
from reviews.providers.base import FileCoverage

BYTES_A_TOKEN = 3.2
FILE_SHARE = 0.25
# The words around each piece: its path, the delimiters.
PIECE_TOKENS = 60
# A request with less room than this for code is not worth its price.
LEAST_ROOM = 500


def estimator(correction: float = 1.0) -> Tokens:
    """Tokens of a text by its bytes. correction: how many the provider counted for each that was estimated."""

    def tokens(text: str) -> int:
        return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN * correction)

    return tokens


@dataclass
class Request:
    """Pieces that are sent together, within a room in tokens."""

    room: int
    pieces: list[Piece] = field(default_factory=list)
    used: int = 0
    of_file: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def takes(self, piece: Piece, share: float) -> bool:
        size = piece.tokens + PIECE_TOKENS
        return self.used + size <= self.room and self.of_file[piece.path] + size <= share * self.room

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.used += piece.tokens + PIECE_TOKENS
        self.of_file[piece.path] += piece.tokens + PIECE_TOKENS


@dataclass
class Plan:
    """requests: what is sent. reasons: path → why the file is not; remarks: path → what to know of its reading.

    unsent: pieces for which there is no room; cut: paths of which further pieces were not even made.
    """

    requests: list[Request] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    unsent: list[Piece] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Limits:
    """room: tokens of code in one request. requests: how many there may be."""

    room: int
    requests: int


def plan(
    change: Change,
    limits: Limits,
    tokens: Tokens,
    excluded: PathPatterns | None = None,
    withheld: Mapping[str, frozenset[int]] | None = None,
) -> Plan:
    """Fill requests with the riskiest files first, each file with a quarter of one at most while others wait."""
    made = Plan()
    if limits.room < LEAST_ROOM or limits.requests < 1:
        made.reasons = {file.path: "there is no room for it in a request" for file in change.files}
        return made
    waiting: list[Piece] = []
    # Twice of what fits is enough to choose from; files after that are not even loaded.
    left = 2 * limits.room * limits.requests
    for file in by_risk(_readable(change.files, made, excluded)):
        hidden = (withheld or {}).get(file.path, frozenset())
        for piece in _pieces(file, limits, min(left, limits.room * limits.requests), tokens, made, hidden):
            left -= piece.tokens
            if not _place(piece, made.requests, limits, FILE_SHARE):
                waiting.append(piece)
        if file.path in made.cut and left < limits.room:
            left = 0
    made.unsent = [piece for piece in waiting if not _place(piece, made.requests, limits, 1.0)]
    _close_up(made.requests)
    return made


def _readable(files: Iterable[FileChange], made: Plan, excluded: PathPatterns | None) -> list[FileChange]:
    """Those with lines to show; why the others are not sent is noted."""
    kept = []
    for file in files:
        side = file.head or file.base
        if excluded is not None and excluded.matches(file.path):
            made.reasons[file.path] = "excluded"
        elif side is not None and side.kind is not FileKind.REGULAR:
            made.reasons[file.path] = f"a {side.kind}"
        elif file.status is FileStatus.DELETED:
            made.remarks[file.path] = "deleted, so nothing in it can be new"
        else:
            kept.append(file)
    return kept


def _pieces(
    file: FileChange, limits: Limits, left: int, tokens: Tokens, made: Plan, hidden: frozenset[int]
) -> Iterator[Piece]:
    """Its pieces, up to `left` tokens: a file of millions of lines ends there."""
    most = max(1, int(FILE_SHARE * limits.room) - PIECE_TOKENS)
    if left <= 0:
        made.cut.add(file.path)
        return
    try:
        for piece in pieces_of(file, most, tokens, hidden):
            left -= piece.tokens
            if left < 0:
                made.cut.add(file.path)
                return
            yield piece
    except ContentUnavailable as exc:
        made.reasons[file.path] = str(exc)


def _place(piece: Piece, requests: list[Request], limits: Limits, share: float) -> bool:
    """Put a piece into the first request that takes it, or into a further one while there may be one."""
    for request in requests:
        if request.takes(piece, share):
            request.add(piece)
            return True
    if len(requests) < limits.requests:
        requests.append(Request(limits.room))
        requests[-1].add(piece)
        return True
    return False


def _close_up(requests: list[Request]) -> None:
    """Give up requests whose pieces have room in the others: with nothing else waiting, a file may have more."""
    while len(requests) > 1:
        last = requests[-1]
        others = [Request(one.room, list(one.pieces), one.used, one.of_file.copy()) for one in requests[:-1]]
        only_these = Limits(last.room, len(others))
        if not all(_place(piece, others, only_these, 1.0) for piece in last.pieces):
            break
        requests[:] = others
    order = {path: index for index, path in enumerate(dict.fromkeys(p.path for one in requests for p in one.pieces))}
    for request in requests:
        request.pieces.sort(key=lambda piece: (order[piece.path], piece.first))


def coverage(change: Change, made: Plan, failed: Collection[tuple[Piece, str]], limit: str) -> tuple[FileCoverage, ...]:
    """What was read of each file. failed: pieces that were not answered, and why; limit: of the requests, in words."""
    read: set[str] = set()
    unread: dict[str, dict[str, list[Piece]]] = defaultdict(lambda: defaultdict(list))
    for piece, reason in failed:
        unread[piece.path][reason].append(piece)
    for piece in made.unsent:
        unread[piece.path][limit].append(piece)
    gone = {id(piece) for piece, _ in failed}
    read.update(piece.path for one in made.requests for piece in one.pieces if id(piece) not in gone)
    return tuple(
        _of_file(file.path, made, unread.get(file.path, {}), file.path in read, limit) for file in change.files
    )


def _of_file(path: str, made: Plan, unread: Mapping[str, list[Piece]], is_read: bool, limit: str) -> FileCoverage:
    if path in made.reasons:
        return FileCoverage(path, read=False, reason=made.reasons[path])
    rest = [limit] if path in made.cut and limit not in unread else []
    if not unread and not rest:
        return FileCoverage(path, read=True, reason=made.remarks.get(path, ""))
    if not is_read:
        return FileCoverage(path, read=False, reason="; ".join([*unread, *rest]))
    told = [
        f"not read, {reason}: {_spans(pieces, path in made.cut and reason == limit)}"
        for reason, pieces in unread.items()
    ]
    told += [f"not read to its end, {reason}" for reason in rest]
    return FileCoverage(path, read=True, reason="; ".join(told))


def _spans(pieces: list[Piece], open_ended: bool) -> str:
    """Line numbers in words; touching ones together."""
    spans: list[list[int]] = []
    for piece in sorted(pieces, key=lambda piece: piece.first):
        if spans and piece.first <= spans[-1][1] + 1:
            spans[-1][1] = max(spans[-1][1], piece.last)
        else:
            spans.append([piece.first, piece.last])
    told = [f"{first:,} to {last:,}" for first, last in spans]
    if open_ended:
        told[-1] = f"{spans[-1][0]:,} to its end"
    return f"lines {', '.join(told[:5])}{' and more' if len(told) > 5 else ''}"
