"""Reads files of documents a line at a time: JSON lines or CSV, also gzipped, in little memory."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from embeddings.services.items import BadItem
from jobs import strict_json

JSONL, CSV = "jsonl", "csv"
FORMATS = (JSONL, CSV)
#: A text of the longest kind takes no more, however it is escaped.
MAX_LINE_BYTES = 16_000_000
_BOM = b"\xef\xbb\xbf"
_OWN = ("id", "text", "metadata", "groups")


class FileUnreadable(Exception):
    """The file is not one of documents, or is damaged so that the rest of it cannot be read."""


@dataclass(frozen=True)
class Line:
    """A document to be, or why it is none. number: from 1; of a row of several lines the first."""

    number: int
    item: Any = None
    error: str = ""
    raw: bytes = b""


def format_of(name: str, given: str | None) -> str:
    """By the name's ending, where none is given; JSON lines for standard input. Raises FileUnreadable."""
    if given:
        return given
    plain = name.lower().removesuffix(".gz")
    if name == "-" or plain.endswith((".jsonl", ".ndjson", ".json")):
        return JSONL
    if plain.endswith(".csv"):
        return CSV
    raise FileUnreadable(f"the format of {name!r} is not told by its ending; give --format, one of: jsonl, csv")


def unzipped(path: str, raw: BinaryIO) -> BinaryIO:
    return gzip.open(raw, "rb") if path.lower().endswith(".gz") else raw  # type: ignore[return-value]


def read(stream: BinaryIO, kind: str) -> Iterator[Line]:
    """Raises FileUnreadable; what is wrong with one line is told with that line."""
    try:
        yield from _read_csv(stream) if kind == CSV else _read_jsonl(stream)
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise FileUnreadable(f"the gzip file is damaged: {exc}") from None


def _read_jsonl(stream: BinaryIO) -> Iterator[Line]:
    for number, raw, is_whole in _raw_lines(stream):
        text = raw.strip()
        if not is_whole:
            yield Line(number, error=_too_long(), raw=raw)
        elif text:
            try:
                yield Line(number, strict_json.loads(text, mend=False), raw=raw)
            except strict_json.NotJson as exc:
                yield Line(number, error=f"is not JSON: {_within_line(str(exc))}", raw=raw)


def _read_csv(stream: BinaryIO) -> Iterator[Line]:
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = _TextLines(stream)
    reader = csv.reader(lines, strict=True)
    header = _header(reader)
    while True:
        first = lines.number + 1
        lines.taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            yield Line(first, error=f"is not CSV: {exc}", raw=lines.raw())
            continue
        if not row:
            if lines.was_too_long:
                yield Line(first, error=_too_long(), raw=lines.raw())
            continue
        try:
            yield Line(first, _item_of(header, row), raw=lines.raw())
        except BadItem as exc:
            yield Line(first, error=str(exc), raw=lines.raw())


class _TextLines:
    """A stream's lines as text, for csv. number: of the last line. taken: those of the row that is being read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = _raw_lines(stream)
        self.number = 0
        self.taken: list[bytes] = []
        self.was_too_long = False

    def __iter__(self) -> "_TextLines":
        return self

    def __next__(self) -> str:
        self.number, raw, is_whole = next(self._lines)
        self.was_too_long = not is_whole
        if sum(map(len, self.taken)) < MAX_LINE_BYTES:
            self.taken.append(raw)
        # Bytes that are no UTF-8 become halves of surrogate pairs, which the item's check refuses by name.
        return raw.decode("utf-8", "surrogateescape") if is_whole else "\n"

    def raw(self) -> bytes:
        return b"".join(self.taken)


def _header(reader: Any) -> list[str]:
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as exc:
        raise FileUnreadable(f"the first line is not CSV: {exc}") from None
    missing = [name for name in ("id", "text") if name not in names]
    if missing:
        raise FileUnreadable(f"the first line names no column {' and no '.join(missing)}; it names {names!r:.200}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        raise FileUnreadable(f"the first line names a column twice, or one without a name: {twice or names!r:.200}")
    return names


def _item_of(header: list[str], row: list[str]) -> dict[str, Any]:
    """Columns other than id, text, metadata and groups are metadata, those that are empty left out."""
    if len(row) != len(header):
        raise BadItem(f"has {len(row)} columns; the first line names {len(header)}")
    cells = dict(zip(header, row, strict=True))
    if any("\udc80" <= one <= "\udcff" for cell in row if not cell.isascii() for one in cell):
        raise BadItem("holds bytes that are not UTF-8")
    item: dict[str, Any] = {"id": cells["id"], "text": cells["text"]}
    metadata: Any = {name: cell for name, cell in cells.items() if name not in _OWN and cell}
    if cells.get("metadata"):
        try:
            given = strict_json.loads(cells["metadata"], mend=False)
        except strict_json.NotJson as exc:
            raise BadItem(f"metadata is not JSON: {exc}") from None
        metadata = {**given, **metadata} if isinstance(given, dict) else given
    if any(name not in ("id", "text", "groups") for name in header):
        item["metadata"] = metadata
    if cells.get("groups"):
        item["groups"] = [name.strip() for name in cells["groups"].split(",")]
    return item


def _raw_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Number, bytes with their line end, and whether that is all of the line."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            raw = raw.removeprefix(_BOM)
        is_whole = len(raw) <= MAX_LINE_BYTES
        rest = raw
        while not rest.endswith(b"\n") and len(rest) > MAX_LINE_BYTES:
            rest = stream.readline(MAX_LINE_BYTES + 1)
        yield number, raw, is_whole


def _too_long() -> str:
    return f"has more than {MAX_LINE_BYTES:,} bytes; split the document"


def _within_line(message: str) -> str:
    return message.replace(" at line 1, column ", " at character ")


def open_file(path: str) -> BinaryIO:
    """Raises FileUnreadable."""
    try:
        return Path(path).open("rb")
    except OSError as exc:
        raise FileUnreadable(f"{path} cannot be read: {exc.strerror}") from None
