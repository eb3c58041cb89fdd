"""Threads that wait for a connection on a socket that is closed.

The kernel lets them wait on; stopped and continued, as by a debugger or by whoever freezes a machine for a moment, they
wait under the socket's old number, which may be another server's by then. That one then misses a connection, in a test
that has nothing to do with it.
"""

import socket
import sys
import threading

_ACCEPT = socket.socket.accept.__code__


def waiting() -> dict[str, socket.socket]:
    """The threads that wait for a connection, by their names, and on what."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames().items()
    return {
        names.get(thread, str(thread)): frame.f_locals["self"] for thread, frame in frames if frame.f_code is _ACCEPT
    }


def abandoned() -> list[str]:
    """The names of those whose socket is closed."""
    return sorted(name for name, listener in waiting().items() if listener.fileno() < 0)
