"""A proxy before Postgres that loses what it is told to lose."""

import contextlib
import socket
import threading
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer


class LosesCommits(ThreadingTCPServer):
    """Listens on loopback; lets the first COMMIT through and cuts the connection instead of answering it."""

    daemon_threads = True

    def __init__(self, postgres: Path) -> None:
        """postgres: its Unix socket."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.postgres = str(postgres)
        self.port: int = self.server_address[1]
        self.lost = 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseRequestHandler):
    server: LosesCommits

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as postgres:
            postgres.connect(self.server.postgres)
            loses = threading.Event()
            answering = threading.Thread(target=self._answer, args=(postgres, loses), daemon=True)
            answering.start()
            with contextlib.suppress(OSError):
                while data := self.request.recv(65536):
                    if b"COMMIT" in data and not self.server.lost:
                        self.server.lost += 1
                        loses.set()
                    postgres.sendall(data)
            # Closed alone, it would be waited for under a number that may be another connection's soon.
            _end(postgres)
            answering.join()

    def _answer(self, postgres: socket.socket, loses: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while (data := postgres.recv(65536)) and not loses.is_set():
                self.request.sendall(data)
        _end(self.request)


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
