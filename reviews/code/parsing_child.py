"""Reads sources in a process of its own, which may be killed: `python -m reviews.code.parsing_child`.

Takes on standard input, and gives on standard output, frames: four bytes of length, big endian, and so many bytes.
A request is a frame with the language and one with the source; the answer is one of JSON. Imports no Django.
"""

import ctypes
import json
import resource
import signal
import sys
from dataclasses import astuple
from typing import BinaryIO

from reviews.analysis.launcher import PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, leave_network
from reviews.code import chunks, symbols

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 6


def read_frame(stream: BinaryIO) -> bytes | None:
    """None at the end of the stream."""
    head = stream.read(4)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def write_frame(stream: BinaryIO, content: bytes) -> None:
    stream.write(len(content).to_bytes(4, "big") + content)
    stream.flush()


def answer(language: str, source: bytes) -> bytes:
    text = source.decode("utf-8", "replace").replace("\x00", "")
    parsed = symbols.parse(language, source)
    return json.dumps(
        {
            "symbols": [astuple(one) for one in parsed.symbols],
            "references": [astuple(one) for one in parsed.references],
            "chunks": [astuple(one) for one in chunks.cut(text, parsed.symbols)],
            "is_partial": parsed.is_partial,
        }
    ).encode()


def _confine() -> None:
    """No network, no new privileges, little memory, and an end with the parent; as far as the kernel lets us."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    leave_network(libc)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for name, value in (("AS", MEMORY_BYTES), ("FSIZE", 0), ("CORE", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _limit_time() -> None:
    """It counts from here: so much for the next source."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def main() -> None:
    _confine()
    while (language := read_frame(sys.stdin.buffer)) is not None:
        source = read_frame(sys.stdin.buffer)
        if source is None:
            return
        _limit_time()
        write_frame(sys.stdout.buffer, answer(language.decode(), source))


if __name__ == "__main__":
    main()
