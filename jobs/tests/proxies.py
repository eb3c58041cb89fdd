"""A proxy before Postgres that loses what it is told to lose."""

import socket
import threading
from pathlib import Path


class LosesCommits:
    """Listens on loopback; lets the first COMMIT through and cuts the connection instead of answering it."""

    def __init__(self, server: Path) -> None:
        """server: the Unix socket of Postgres."""
        self._server = str(server)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            loses = threading.Event()
            threading.Thread(target=self._ask, args=(client, server, loses), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client, loses), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, loses: threading.Event) -> None:
        while data := _receive(client):
            if b"COMMIT" in data and not self.lost:
                self.lost += 1
                loses.set()
            server.sendall(data)
        server.close()

    def _answer(self, server: socket.socket, client: socket.socket, loses: threading.Event) -> None:
        while data := _receive(server):
            if loses.is_set():
                break
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)
        client.close()


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:
        return b""
