"""One HTTP request as an effect: no redirects, no proxies, nothing sent after the deadline."""

import http.client
import socket
import ssl
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.effects import wire
from jobs.effects.errors import Refused
from jobs.effects.trying import Try

MOST_BYTES = 1_000_000
#: 408: it may have got all of it. 409: the first request of this key may be under way.
UNCLEAR = frozenset({408, 409})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class UnclearAnswer(Exception):
    """An answer that does not tell whether it happened."""


class Redirected(UnclearAnswer):
    """The far side points elsewhere, where nothing is sent. location: the whole of its answer's; perhaps a secret."""

    def __init__(self, message: str, status: int, location: str) -> None:
        super().__init__(message)
        self.status, self.location = status, location


@dataclass(frozen=True)
class Answer:
    """body: what came of it, up to a megabyte; a broken body does not undo what the status says."""

    status: int
    body: bytes


class _Connection(http.client.HTTPConnection):
    """Checks a try's deadline before each write, and connects to an address that was checked before."""

    context: ssl.SSLContext | None = None

    def __init__(self, host: str, port: int, attempt: Try, addresses: Sequence[str]) -> None:
        super().__init__(host, port)
        self._attempt = attempt
        self._addresses = addresses

    def connect(self) -> None:
        timeout = min(self._attempt.seconds_left, wire.LONGEST_CONNECT_SECONDS)
        sock = wire.connect(self._addresses or [self.host], self.port, timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.context.wrap_socket(sock, server_hostname=self.host) if self.context else sock

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        wire.write(self.sock, data, self._attempt)


def post(
    attempt: Try,
    url: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    addresses: Sequence[str] = (),
) -> Answer:
    """Send one request, with the effect's identity as `Idempotency-Key`, and return the far side's 2xx answer.

    addresses: connect to one of these, instead of to what the URL's host resolves to.
    Raises ValueError for what is no http(s) URL, Refused for a 4xx that tells that nothing was done, Redirected or
    UnclearAnswer for any other status, and the errors of sockets and of http.client.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url[:200]!r} is not an http or https URL")
    secure = parts.scheme == "https"
    connection = _Connection(parts.hostname, parts.port or (443 if secure else 80), attempt, addresses)
    connection.context = ssl.create_default_context() if secure else None
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    sent = {"Host": parts.netloc.rpartition("@")[2], "Idempotency-Key": attempt.identity, **(headers or {})}
    try:
        connection.request(method, path, body, {**sent, "Connection": "close"})
        connection.sock.settimeout(attempt.seconds_left)
        return _judged(connection.getresponse())
    finally:
        wire.abort(connection.sock)


def _judged(response: http.client.HTTPResponse) -> Answer:
    status = response.status
    told = f"the far side answered {status} {response.reason[:100]}"
    if 400 <= status < 500 and status not in UNCLEAR:
        raise Refused(told, status)
    if status in REDIRECTS:
        raise Redirected(told, status, response.headers.get("Location", ""))
    if not 200 <= status < 300:
        raise UnclearAnswer(told)
    try:
        return Answer(status, response.read(MOST_BYTES))
    except (OSError, http.client.HTTPException) as exc:
        return Answer(status, getattr(exc, "partial", b""))
