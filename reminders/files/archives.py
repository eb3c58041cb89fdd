"""ZIP archives, looked through without unpacking them to disk: entries, ratio, size and depth are counted."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from reminders.files.refusals import FileRefused, Refusal

MOST_ENTRIES = 5_000
#: Of the list at the end of an archive: it is read whole, so its length is looked at first.
MOST_LIST_BYTES = 2_000_000
MOST_UNPACKED = 256 * 1024 * 1024
#: Texts shrink to a tenth, tables of numbers perhaps to a fiftieth; a bomb to a thousandth.
MOST_RATIO = 200
SMALL = 1024 * 1024
#: An archive in an archive in an archive; each inner one is held in memory while it is looked through.
MOST_DEPTH = 3
MOST_INNER = 16 * 1024 * 1024
KEPT_BYTES = 512 * 1024
_PIECE = 256 * 1024
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8
_LOCAL = b"PK\x03\x04"

_EXECUTABLES: tuple[tuple[bytes, str], ...] = (
    (b"MZ", "a program for Windows"),
    (b"\x7fELF", "a program for Linux"),
    (b"\xfe\xed\xfa\xce", "a program for macOS"),
    (b"\xfe\xed\xfa\xcf", "a program for macOS"),
    (b"\xce\xfa\xed\xfe", "a program for macOS"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"\xca\xfe\xba\xbe", "a program for macOS or Java"),
    (b"dex\n", "a program for Android"),
    (b"\x00asm", "a WebAssembly program"),
    (b"L\x00\x00\x00\x01\x14\x02\x00", "a Windows shortcut"),
)
#: What is kept of an archive for those who ask what it means.
_KEPT = ("[Content_Types].xml", "mimetype")


@dataclass
class Contents:
    """names: of the outer archive's entries, in order. kept: the beginnings of those that tell what it is."""

    names: list[str] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)


@dataclass
class _Count:
    """What was counted so far, over all depths."""

    entries: int = 0
    unpacked: int = 0


def examine(file: BinaryIO) -> Contents:
    """Look through an archive and those in it. Raises FileRefused for what is not safe, or not whole."""
    contents = Contents()
    _examine(file, 1, _Count(), contents)
    return contents


def refuse_executable(head: bytes, where: str = "it") -> None:
    """head: the beginning of a content. Raises FileRefused for programs."""
    for beginning, what in _EXECUTABLES:
        if head.startswith(beginning):
            raise FileRefused(Refusal.EXECUTABLE, f"{where} is {what}; programs are not taken")


def _examine(file: BinaryIO, depth: int, count: _Count, contents: Contents | None) -> None:
    if depth > MOST_DEPTH:
        words = f"archives lie in archives more than {MOST_DEPTH} deep; unpack the inner ones first"
        raise FileRefused(Refusal.ARCHIVE_DEPTH, words)
    size = file.seek(0, 2)
    entries = _entries(file, count)
    _check_declared(entries, size)
    for entry in entries:
        if contents is not None:
            contents.names.append(entry.filename)
        if not entry.is_dir():
            _check_entry(file, entry, depth, count, contents)


def _entries(file: BinaryIO, count: _Count) -> list[zipfile.ZipInfo]:
    """The list at the end, in the order of the contents. Raises FileRefused."""
    try:
        # What zipfile itself goes by; it would read the list, however long, before it tells anything of it.
        end: Any = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end is None:
            raise _broken("its list of contents is missing; it is cut off")
        listed, most = end[5], MOST_ENTRIES - count.entries
        if listed > MOST_LIST_BYTES or end[4] > most:
            raise _too_many()
        with zipfile.ZipFile(file) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    except FileRefused:
        raise
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError, EOFError) as exc:
        raise _broken(f"its list of contents cannot be read ({str(exc)[:80]})") from None
    count.entries += len(entries)
    if count.entries > MOST_ENTRIES:
        raise _too_many()
    return entries


def _check_declared(entries: list[zipfile.ZipInfo], size: int) -> None:
    """What the list says, before anything is unpacked. Raises FileRefused."""
    if entries and entries[0].header_offset != 0:
        raise FileRefused(Refusal.POLYGLOT, "other data stands before the archive's; pack it anew")
    end = 0
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED:
            words = f"{_shown(entry)} is encrypted, and cannot be looked into; pack it without a password"
            raise FileRefused(Refusal.ARCHIVE_ENCRYPTED, words)
        if entry.compress_type not in (_STORED, _DEFLATED):
            words = f"{_shown(entry)} is packed in a rare way (method {entry.compress_type}); pack it by “deflate”"
            raise FileRefused(Refusal.ARCHIVE_METHOD, words)
        parts = entry.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or parts[0].endswith(":"):
            words = f"{_shown(entry)} would be unpacked outside of its folder; pack it with plain names"
            raise FileRefused(Refusal.ARCHIVE_NAMES, words)
        if entry.header_offset < end:
            raise _broken(f"{_shown(entry)} overlaps the entry before it, as in a bomb")
        end = entry.header_offset + 30 + entry.compress_size
    if end > size:
        raise _broken("its entries are longer than it is")
    total = sum(entry.file_size for entry in entries)
    if total > MOST_UNPACKED:
        raise _too_much(total)
    for entry in entries:
        _check_ratio(entry, entry.file_size)


def _check_entry(file: BinaryIO, entry: zipfile.ZipInfo, depth: int, count: _Count, contents: Contents | None) -> None:
    """Unpack one entry into nothing; the list may lie. Raises FileRefused."""
    inner: io.BytesIO | None = None
    kept = bytearray()
    size = crc = 0
    for piece in _unpacked(file, entry):
        if size == 0:
            refuse_executable(piece, _shown(entry))
            inner = io.BytesIO() if piece.startswith(_LOCAL) else None
        size += len(piece)
        crc = zlib.crc32(piece, crc)
        count.unpacked += len(piece)
        if count.unpacked > MOST_UNPACKED:
            raise _too_much(count.unpacked)
        if size > entry.file_size:
            raise _broken(f"{_shown(entry)} is larger than its list says")
        if len(kept) < KEPT_BYTES:
            kept += piece[: KEPT_BYTES - len(kept)]
        if inner is not None:
            if size > MOST_INNER:
                words = f"the archive {_shown(entry)} in it has more than {MOST_INNER:,} bytes; attach it by itself"
                raise FileRefused(Refusal.ARCHIVE_SIZE, words)
            inner.write(piece)
    if size != entry.file_size or crc != entry.CRC:
        raise _broken(f"{_shown(entry)} is not what its list says; it is damaged")
    if contents is not None and entry.filename in _KEPT:
        contents.kept[entry.filename] = bytes(kept)
    if inner is not None:
        _examine(inner, depth + 1, count, None)


def _unpacked(file: BinaryIO, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of an entry in pieces of bounded size, up to the real end of the packed stream.

    Not by zipfile, which stops where the list says, so that a list that lies would not be noticed.
    """
    file.seek(entry.header_offset)
    head = file.read(30)
    if len(head) < 30 or head[:4] != _LOCAL:
        raise _broken(f"{_shown(entry)} does not begin where the list says")
    name_length, extra_length = struct.unpack("<HH", head[26:30])
    at = entry.header_offset + 30 + name_length + extra_length
    left = entry.compress_size
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    packed = b""
    while left or packed:
        if not packed:
            file.seek(at)
            packed = file.read(min(_PIECE, left))
            if not packed:
                raise _broken(f"{_shown(entry)} is cut off")
            at, left = at + len(packed), left - len(packed)
        if entry.compress_type == _STORED:
            yield packed
            packed = b""
            continue
        try:
            piece = inflater.decompress(packed, _PIECE)
        except zlib.error as exc:
            raise _broken(f"{_shown(entry)} is damaged ({exc})") from None
        packed = inflater.unconsumed_tail
        if inflater.eof and (left or inflater.unused_data):
            raise _broken(f"{_shown(entry)} has other data after its end")
        if piece:
            yield piece
    if entry.compress_type == _DEFLATED and entry.compress_size and not inflater.eof:
        yield from _rest(inflater, entry)


def _rest(inflater: Any, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """What the inflater still holds after all that was packed."""
    while not inflater.eof:
        piece = inflater.decompress(inflater.unconsumed_tail, _PIECE)
        if not piece:
            raise _broken(f"{_shown(entry)} is cut off")
        yield piece


def _check_ratio(entry: zipfile.ZipInfo, size: int) -> None:
    if size > SMALL and size > MOST_RATIO * max(entry.compress_size, 1):
        words = (
            f"{_shown(entry)} unpacks to {size // max(entry.compress_size, 1):,} times its size, as bombs do; "
            f"up to {MOST_RATIO} times is taken"
        )
        raise FileRefused(Refusal.ARCHIVE_RATIO, words)


def _too_much(size: int) -> FileRefused:
    words = f"it unpacks to {size:,} bytes or more; up to {MOST_UNPACKED:,} are taken"
    return FileRefused(Refusal.ARCHIVE_SIZE, words)


def _too_many() -> FileRefused:
    return FileRefused(Refusal.ARCHIVE_ENTRIES, f"it has more than {MOST_ENTRIES:,} entries; pack it in several files")


def _broken(what: str) -> FileRefused:
    return FileRefused(Refusal.ARCHIVE_BROKEN, f"the archive is broken: {what}; pack it anew")


def _shown(entry: zipfile.ZipInfo) -> str:
    return repr(entry.filename[-60:])
