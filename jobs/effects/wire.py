"""Writing to a socket no later than a try's deadline."""

import contextlib
import socket
import struct
from collections.abc import Sequence

from jobs.effects.trying import Try

#: A process may be frozen at any point of a long write; it looks at its deadline again before each part.
PART_BYTES = 16 * 1024
LONGEST_CONNECT_SECONDS = 10.0


def connect(addresses: Sequence[str], port: int, seconds: float) -> socket.socket:
    """Connect to the first of these that answers. Raises the error of the last."""
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, port), seconds)
    return socket.create_connection((addresses[-1], port), seconds)


def write(sock: socket.socket, data: bytes, attempt: Try) -> None:
    """Write all of it. Raises TooLate when the deadline passes before the last part."""
    view = memoryview(data)
    for start in range(0, len(view), PART_BYTES):
        left = attempt.check()
        if start == 0:
            forget_after(sock, left)
        sock.settimeout(left)
        sock.sendall(view[start : start + PART_BYTES])


def forget_after(sock: socket.socket, seconds: float) -> None:
    """Have the kernel give up on what it could not deliver in that time.

    Else it would go on sending after our end, and a far side that was cut off would get the request much later.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(int(seconds * 1000), 1))


def abort(sock: socket.socket | None) -> None:
    """Close at once; what the kernel has not delivered yet is dropped."""
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            sock.close()
