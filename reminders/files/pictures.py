"""How large a picture says it is, read from its header without decoding anything."""

import struct
from typing import BinaryIO

from reminders.files.kinds import GIF, JPEG, PNG, WEBP, Kind

#: Headers before the size of a JPEG file: each up to 64 KiB; a photo has profiles and a preview there.
_MOST_SEGMENTS = 512
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_OTHER_THAN_FRAME = {0xC4, 0xC8, 0xCC}


def size_of(file: BinaryIO, kind: Kind) -> tuple[int, int] | None:
    """(width, height) in pixels; None where the header is cut off or makes no sense."""
    file.seek(0)
    try:
        found = _READERS[kind.name](file)
    except (struct.error, IndexError):
        return None
    return found if found is not None and found[0] > 0 and found[1] > 0 else None


def _png(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(24)
    if head[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _gif(file: BinaryIO) -> tuple[int, int] | None:
    width, height = struct.unpack("<HH", file.read(10)[6:10])
    return width, height


def _jpeg(file: BinaryIO) -> tuple[int, int] | None:
    """From the first frame header (ITU T.81, B.2.2)."""
    file.seek(2)
    for _ in range(_MOST_SEGMENTS):
        byte = file.read(1)
        while byte == b"\xff":
            byte = file.read(1)
        marker = byte[0]
        if marker in _WITHOUT_LENGTH:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= marker <= 0xCF and marker not in _OTHER_THAN_FRAME:
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        if marker in (0xD9, 0xDA) or length < 2:
            return None
        file.seek(length - 2, 1)
        if file.read(1) != b"\xff":
            return None
    return None


def _webp(file: BinaryIO) -> tuple[int, int] | None:
    """From the first chunk (RFC 9649): extended, lossless or lossy."""
    head = file.read(30)
    chunk = head[12:16]
    if chunk == b"VP8X":
        return _three(head, 24) + 1, _three(head, 27) + 1
    if chunk == b"VP8L" and head[20] == 0x2F:
        (bits,) = struct.unpack("<I", head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _three(head: bytes, at: int) -> int:
    return int(struct.unpack("<I", head[at : at + 3] + b"\x00")[0])


_READERS = {PNG.name: _png, GIF.name: _gif, JPEG.name: _jpeg, WEBP.name: _webp}
