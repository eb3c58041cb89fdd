"""Files as people and as attackers make them."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from PIL import Image

from reminders.services.file_scanning import EICAR

MAIN_TYPES = "application/vnd.openxmlformats-officedocument.{}.main+xml"
WORD = "wordprocessingml.document"


def zipped(entries: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def zipped_deep(content: bytes, depth: int) -> bytes:
    for _ in range(depth):
        content = zipped({"inner.zip": content})
    return content


def office(part: str = WORD, **more: bytes) -> bytes:
    types = f'<?xml version="1.0"?><Types><Override ContentType="{MAIN_TYPES.format(part)}"/></Types>'
    entries = {"[Content_Types].xml": types.encode(), "word/document.xml": b"<w/>"}
    return zipped({**entries, **{name.replace("__", "/"): content for name, content in more.items()}})


def opendocument(kind: str = "text", **more: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        archive.writestr("content.xml", "<office/>")
        for name, content in more.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def encrypted() -> bytes:
    """An archive whose entry says that it is encrypted."""
    made = bytearray(zipped({"secret.txt": b"a" * 40}))
    made[6] |= 1
    made[made.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def lying(real: bytes, said: int) -> bytes:
    """An archive whose list says that its entry is shorter."""
    made = bytearray(zipped({"a.txt": real}))
    struct.pack_into("<I", made, made.index(b"PK\x01\x02") + 24, said)
    return bytes(made)


def overlapping() -> bytes:
    """Two entries in the list, one content."""
    made = zipped({"a.txt": b"x" * 1000})
    at, end = made.index(b"PK\x01\x02"), made.index(b"PK\x05\x06")
    entry = made[at:end]
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(entry) * 2, at, 0)
    return made[:at] + entry + entry + tail


def long_list(entries: int) -> bytes:
    """A list of so many empty entries, of one local header each."""
    return zipped({f"{number}": b"" for number in range(entries)}, zipfile.ZIP_STORED)


def picture(width: int = 40, height: int = 30, form: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), **({"color": (200, 30, 30)} if mode == "RGB" else {})).save(out, form, **options)
    return out.getvalue()


def photo_with_place() -> bytes:
    """A JPEG, turned on its side by its metadata, which say where it was taken."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = "at my home"
    return picture(80, 40, "JPEG", exif=exif)


def giant_png(width: int, height: int, rows: int = 0) -> bytes:
    """A 1-bit PNG of so many pixels, in a few bytes, made without its pixels. rows: cut off after so many."""
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(rows or height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


MAIL = b"From: a@example.org\r\nTo: b@example.org\r\nMIME-Version: 1.0\r\nSubject: hi\r\n\r\nHello\r\n"
CALENDAR = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
__all__ = ["EICAR"]
