"""A far side that is the judge of effects: it logs each request that it carried out, and dies or freezes on demand."""

import contextlib
import json
import socket
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

#: Each way to end a POST badly: whether the far side then has carried it out.
STEPS = {
    "close before reading": False,
    "reset before reading": False,
    "reset after reading": False,
    "freeze before storing": False,
    "refuse": False,
    "fail before storing": False,
    "fail after storing": True,
    "reset after storing": True,
    "close after storing": True,
    "freeze after storing": True,
    "half a status line": True,
    "half a header": True,
    "half a body": True,
}


@dataclass
class FarSide:
    """A small HTTP server on loopback, in threads of the test's own process.

    steps: what happens to the coming POSTs, one each; then all goes well. carried_out: the key of each POST that was
    carried out. released: set it to let frozen requests go on.
    """

    steps: list[str] = field(default_factory=list)
    carried_out: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    received: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    look_up_fails: bool = False
    folds_identities: bool = False
    freeze_seconds: float = 30.0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._serve, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/post"

    @property
    def lookup_url(self) -> str:
        return self.url.replace("/post", "/known")

    def close(self) -> None:
        if self._listener.fileno() < 0:
            return
        self.released.set()
        # Closed alone, it would go on listening for the thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            step = ""
            # A step is meant for a POST; look-ups go past it.
            first = connection.recv(1, socket.MSG_PEEK)
            if first == b"P" and self.steps:
                step = self.steps.pop(0)
            if step.endswith("before reading"):
                self._end(connection, reset=step.startswith("reset"))
                return
            method, path, headers, body = self._read(connection)
            if method == "GET":
                self._look_up(connection, path)
            else:
                self._post(connection, step, headers, body)

    def _read(self, connection: socket.socket) -> tuple[str, str, dict[str, str], bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                raise OSError("cut")
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            part = connection.recv(65536)
            if not part:
                raise OSError("cut")
            body += part
        method, path, _ = line.split(" ")
        return method, path, headers, body

    def _look_up(self, connection: socket.socket, path: str) -> None:
        key = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)["key"][0]
        status = "500 Broken" if self.look_up_fails else "200 OK" if key in self.carried_out else "404 Not Found"
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        connection.close()

    def _post(self, connection: socket.socket, step: str, headers: dict[str, str], body: bytes) -> None:
        self.received.set()
        if step == "freeze before storing":
            self.released.wait(self.freeze_seconds)
            self._end(connection, reset=False)
            return
        if step in ("reset after reading", "refuse", "fail before storing"):
            if step != "reset after reading":
                status = "422 Unprocessable" if step == "refuse" else "500 Broken"
                connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            self._end(connection, reset=step == "reset after reading")
            return
        identity = headers["idempotency-key"]
        if not (self.folds_identities and identity in self.identities):
            self.carried_out.append(json.loads(body)["key"])
        self.identities.append(identity)
        if step == "freeze after storing":
            self.released.wait(self.freeze_seconds)
        answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
        cut = {"half a status line": 9, "half a header": 30, "half a body": len(answer) - 1}.get(step, len(answer))
        if step == "fail after storing":
            answer = b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"
        if step not in ("reset after storing", "close after storing"):
            connection.sendall(answer[:cut])
        self._end(connection, reset=step == "reset after storing")

    def _end(self, connection: socket.socket, *, reset: bool) -> None:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.01)
        connection.close()
