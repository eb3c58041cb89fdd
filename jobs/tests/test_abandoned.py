import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from jobs.tests.abandoned import abandoned, waiting


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A server with a thread that waits for its first connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def accept() -> None:
        with contextlib.suppress(OSError):
            listener.accept()

    thread = threading.Thread(target=accept, name="left behind")
    thread.start()
    yield listener
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
    thread.join()


def test_a_thread_that_waits_on_a_closed_socket_is_named(
    listening: socket.socket, until: Callable[..., object]
) -> None:
    until(lambda: "left behind" in waiting())
    assert abandoned() == []

    listening.close()

    assert abandoned() == ["left behind"]
