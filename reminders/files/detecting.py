"""What a file is, found in its whole content and never taken from its name."""

from pathlib import Path
from typing import BinaryIO

import puremagic

from reminders.files import archives, office, pictures, texts
from reminders.files.kinds import GIF, JPEG, PDF, PNG, WEBP, ZIP, Kind, allowed
from reminders.files.refusals import FileRefused, Refusal

HEAD_BYTES = 4096
#: Beginnings of what is taken, if the rest holds.
_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"%PDF-", PDF),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
)
_OTHER_ARCHIVES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"MSCF", "cabinet"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22 + 65_535


def detect(path: Path) -> Kind:
    """The kind of a file that may be attached. Raises FileRefused, saying what it is instead."""
    with path.open("rb") as file:
        kind = _kind(file, path)
    if kind not in allowed():
        names = ", ".join(one.name for one in allowed())
        raise FileRefused(Refusal.TYPE_NOT_ALLOWED, f"it is a {kind.label}; this installation takes: {names}")
    return kind


def _kind(file: BinaryIO, path: Path) -> Kind:
    head = file.read(HEAD_BYTES)
    if not head:
        raise FileRefused(Refusal.EMPTY, "the file is empty; attach one with content")
    archives.refuse_executable(head)
    for beginning, name in _OTHER_ARCHIVES:
        if head.startswith(beginning):
            words = f"it is a {name} archive, which cannot be looked into; pack it as ZIP"
            raise FileRefused(Refusal.OTHER_ARCHIVE, words)
    if head.startswith(_OLE):
        words = "it is an Office file of the old kind, or one with a password; save it as docx, xlsx or pptx without"
        raise FileRefused(Refusal.OLD_OFFICE, words)
    if head.startswith((b"PK\x03\x04", _ZIP_END)):
        return _packed(file)
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return _whole(file, kind)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _whole(file, WEBP)
    found = texts.kind_of(file, head)
    if found is not None:
        return _whole(file, found)
    raise FileRefused(Refusal.UNKNOWN_TYPE, f"{_guess(path)}; this installation takes: {_taken()}")


def _packed(file: BinaryIO) -> Kind:
    """A ZIP archive, or an Office file, which is one. Every entry is unpacked into nothing, to be counted."""
    contents = archives.examine(file)
    return office.kind_of(contents) or ZIP


def _whole(file: BinaryIO, kind: Kind) -> Kind:
    """Raises FileRefused for a file that is an archive, too: other programs would see that in it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _ZIP_END_BYTES))
    if _ZIP_END in file.read():
        words = f"it is a {kind.label} and a ZIP archive in one; send them as two files"
        raise FileRefused(Refusal.POLYGLOT, words)
    if kind.shows and pictures.size_of(file, kind) is None:
        raise FileRefused(Refusal.BROKEN, f"it begins like a {kind.label}, and tells no size; it is cut off or broken")
    return kind


def _taken() -> str:
    return ", ".join(kind.name for kind in allowed())


def _guess(path: Path) -> str:
    """What a larger table of types makes of it, for the message alone."""
    try:
        found = puremagic.magic_file(str(path))
    except (puremagic.PureError, ValueError, OSError):
        found = []
    names = [match.name or match.mime_type for match in found[:1] if match.name or match.mime_type]
    return f"its content looks like {names[0][:80]}" if names else "its content is of no known type"
