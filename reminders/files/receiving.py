"""Uploads: read in pieces, into a quarantine folder that nothing is served from, and no further than allowed."""

import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from reminders.files.refusals import FileRefused, Refusal

PIECE = 64 * 1024
#: What a form has beside the file: boundaries, headers, a token.
FORM_BYTES = 64 * 1024
PREFIX = "upload-"
#: What is read away of an upload that is refused: so many times the most that a file may have, and for so long.
READ_AWAY_FILES = 8
READ_AWAY_SECONDS = 20.0


@dataclass(frozen=True)
class Received:
    """A file in quarantine. name: as it was sent."""

    path: Path
    name: str
    size: int
    sha256: str


class _Sink:
    """Writes pieces to a new file in quarantine, counting and hashing them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = folder() / f"{PREFIX}{secrets.token_hex(16)}"
        self.size = 0
        self._digest = hashlib.sha256()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb")

    def write(self, piece: bytes) -> None:
        """Raises FileRefused beyond the limit."""
        self.size += len(piece)
        if self.size > most_bytes():
            raise too_large()
        self._digest.update(piece)
        self._file.write(piece)

    def finish(self) -> Received:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Received(self.path, self.name, self.size, self._digest.hexdigest())

    def drop(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def most_bytes() -> int:
    return int(settings.ATTACHMENTS["MAX_BYTES"])


def folder() -> Path:
    """The quarantine, made if need be."""
    path = Path(settings.ATTACHMENTS["QUARANTINE_DIR"])
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def too_large(size: int | None = None) -> FileRefused:
    most = f"{most_bytes():,} bytes, the most that a file may have"
    found = "it has more" if size is None else f"{size:,} bytes were announced, which is more"
    return FileRefused(Refusal.TOO_LARGE, f"{found} than {most}; nothing was stored")


@contextmanager
def received(pieces: Iterable[bytes], name: str) -> Iterator[Received]:
    """A stream as a file in quarantine, for as long as the block runs; who keeps the file moves it away.

    Raises FileRefused for one that is too large, and leaves nothing then.
    """
    sink = _Sink(name)
    try:
        for piece in pieces:
            sink.write(piece)
        yield sink.finish()
    finally:
        sink.drop()


@contextmanager
def received_upload(request: HttpRequest, name: str = "") -> Iterator[Received]:
    """The file that a request brings: as the only file of a form (multipart/form-data), or as its whole body.

    name: instead of the one in the request. Raises FileRefused, before the body is read where its length tells.
    """
    announced = _length(request)
    is_form = (request.content_type or "").lower() == "multipart/form-data"
    if announced > most_bytes() + (FORM_BYTES if is_form else 0):
        raise too_large(announced)
    if is_form:
        with _of_form(request, name) as file:
            yield file
    else:
        with received(_body(request, announced), name or _name_in_header(request)) as file:
            yield file


@contextmanager
def _of_form(request: HttpRequest, name: str) -> Iterator[Received]:
    handler = QuarantineHandler(request)
    try:
        try:
            MultiPartParser(request.META, request, [handler], request.encoding).parse()
        except (MultiPartParserError, SuspiciousOperation, OSError) as exc:
            words = f"the form cannot be read: {str(exc)[:200]}; send it again"
            raise FileRefused(Refusal.BROKEN_UPLOAD, words) from None
        file = handler.only_file()
        yield Received(file.path, name or file.name, file.size, file.sha256)
    finally:
        handler.drop()


def read_away(request: HttpRequest) -> None:
    """Read what is left of the body of an upload that is refused, unless it is far too much.

    A browser that is still sending when its connection is closed tells of the connection, and never of our answer.
    """
    left, until = READ_AWAY_FILES * most_bytes(), time.monotonic() + READ_AWAY_SECONDS
    if _length(request) > left:
        return
    with suppress(OSError):
        while left > 0 and time.monotonic() < until and (piece := request.read(PIECE)):
            left -= len(piece)


class QuarantineHandler(FileUploadHandler):
    """Django's way to take the files of a form: into quarantine, one file, no larger than allowed."""

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self._sinks: list[_Sink] = []
        self._files: list[Received] = []

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if self._sinks:
            raise FileRefused(Refusal.SEVERAL_FILES, "there are several files; send one at a time")
        self._sinks.append(_Sink(_as_typed(self.file_name or "")))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._sinks[-1].write(raw_data)

    def file_complete(self, file_size: int) -> None:
        self._files.append(self._sinks[-1].finish())

    def only_file(self) -> Received:
        """Raises FileRefused."""
        if not self._files:
            raise FileRefused(Refusal.NO_FILE, "there is no file; send it as a form's file, or as the whole body")
        return self._files[0]

    def drop(self) -> None:
        """Remove what was not moved away."""
        for sink in self._sinks:
            sink.drop()

    def upload_interrupted(self) -> None:
        self.drop()


def sweep(older_than_seconds: float) -> int:
    """Remove what processes left in quarantine that died. Returns how many files."""
    swept = 0
    for path in folder().glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > older_than_seconds:
                path.unlink()
                swept += 1
    return swept


def _as_typed(name: str) -> str:
    """A name in a form: browsers write these three characters so, and no others (HTML, multipart/form-data)."""
    for written, meant in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        name = name.replace(written, meant)
    return name


def _length(request: HttpRequest) -> int:
    try:
        return max(0, int(request.META.get("CONTENT_LENGTH") or 0))
    except ValueError:
        return 0


def _body(request: HttpRequest, announced: int) -> Iterator[bytes]:
    """Raises FileRefused where the client went away before all had come."""
    read = 0
    try:
        while piece := request.read(PIECE):
            read += len(piece)
            yield piece
    except OSError:
        pass
    if read < announced:
        raise FileRefused(Refusal.BROKEN_UPLOAD, f"{read:,} of {announced:,} bytes arrived; send it again")


def _name_in_header(request: HttpRequest) -> str:
    """The file name of a Content-Disposition header (RFC 6266)."""
    from django.utils.http import parse_header_parameters

    try:
        _, parameters = parse_header_parameters(request.headers.get("Content-Disposition", ""))
    except (ValueError, LookupError):
        return ""
    found: Any = parameters.get("filename", "")
    return found if isinstance(found, str) else ""
