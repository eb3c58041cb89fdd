"""A client of clamd: one content by INSTREAM (https://docs.clamav.net/manual/Usage/Scanning.html#clamd)."""

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from django.conf import settings

#: Of connecting, and of each wait for an answer; a large archive takes a while.
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 120.0
_LONGEST_ANSWER = 4096
_PIECE = 64 * 1024


class ScanFailed(Exception):
    """The scanner gave no verdict; the message says why. The content is as unknown as before."""


@dataclass(frozen=True)
class Verdict:
    """signature: what was found; empty for a clean content."""

    signature: str

    @property
    def is_clean(self) -> bool:
        return not self.signature


def is_configured() -> bool:
    return bool(settings.ATTACHMENTS["CLAMAV"])


def scan(pieces: Iterable[bytes]) -> Verdict:
    """Raises ScanFailed."""
    with _connection() as connection:
        try:
            answer = _instream(connection, pieces)
        except OSError as exc:
            raise ScanFailed(f"the virus scanner went away: {_words(exc)}") from None
    return _read(answer)


def version() -> str:
    """What clamd and its signatures are. Raises ScanFailed."""
    with _connection() as connection:
        try:
            connection.sendall(b"zVERSION\0")
            return _answer(connection)
        except OSError as exc:
            raise ScanFailed(f"the virus scanner does not answer: {_words(exc)}") from None


def _connection() -> socket.socket:
    address = settings.ATTACHMENTS["CLAMAV"]
    if not address:
        raise ScanFailed("no virus scanner is configured; set CLAMAV to tcp://HOST:3310 or unix:///PATH")
    parts = urlsplit(address)
    try:
        if parts.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(CONNECT_SECONDS)
                connection.connect(unquote(parts.path))
            except BaseException:
                connection.close()
                raise
        else:
            connection = socket.create_connection((parts.hostname or "localhost", parts.port or 3310), CONNECT_SECONDS)
    except (OSError, UnicodeError) as exc:
        raise ScanFailed(f"the virus scanner at {address} is not reachable: {_words(exc)}") from None
    connection.settimeout(ANSWER_SECONDS)
    return connection


def _instream(connection: socket.socket, pieces: Iterable[bytes]) -> str:
    try:
        connection.sendall(b"zINSTREAM\0")
        for piece in pieces:
            for start in range(0, len(piece), _PIECE):
                part = piece[start : start + _PIECE]
                connection.sendall(struct.pack(">I", len(part)) + part)
        connection.sendall(struct.pack(">I", 0))
    except (BrokenPipeError, ConnectionResetError):
        # Beyond its StreamMaxLength it says so and hangs up; what it said may still be read.
        with suppress(OSError):
            if answer := _answer(connection):
                return answer
        raise
    return _answer(connection)


def _answer(connection: socket.socket) -> str:
    answer = b""
    while not answer.endswith(b"\0") and len(answer) < _LONGEST_ANSWER:
        piece = connection.recv(_LONGEST_ANSWER)
        if not piece:
            break
        answer += piece
    return answer.rstrip(b"\0").decode("utf-8", "replace").strip()


def _read(answer: str) -> Verdict:
    """Only what says so is clean: an error, a limit or half an answer is none. Raises ScanFailed."""
    if answer == "stream: OK":
        return Verdict("")
    found = answer.removeprefix("stream: ").removesuffix(" FOUND")
    if answer.startswith("stream: ") and answer.endswith(" FOUND") and found:
        return Verdict(found[:255])
    if "size limit exceeded" in answer:
        raise ScanFailed(
            f"the virus scanner takes no file of this size ({answer}); raise StreamMaxLength in clamd.conf"
        )
    raise ScanFailed(f"the virus scanner gave no verdict: {answer[:200] or 'it hung up'}")


def _words(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__)[:200]
