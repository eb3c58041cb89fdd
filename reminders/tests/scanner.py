"""A clamd of the test's own, with a signature of our own: Debian's package has none."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reminders.services.file_scanning import EICAR

PROGRAM = shutil.which("clamd") or ("/usr/sbin/clamd" if Path("/usr/sbin/clamd").exists() else "")
#: Guards against waiting for ever, not measures.
START_SECONDS = STOP_SECONDS = ANSWER_SECONDS = 120.0


def sign(folder: Path, name: str, content: bytes) -> None:
    """Add a signature of one content (https://docs.clamav.net/manual/Signatures/HashSignatures.html)."""
    line = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}:{len(content)}:{name}\n"
    with (folder / f"{name}.hdb").open("w") as file:
        file.write(line)


def sign_eicar(folder: Path) -> None:
    sign(folder, "Eicar-Test-Signature", EICAR)
    # By its bytes as well, so that it is found at the beginning of anything.
    (folder / "eicar.ndb").write_text(f"Eicar-Test-Body:0:0:{EICAR.hex()}\n")


@contextmanager
def clamd(folder: Path, *lines: str) -> Iterator[str]:
    """Its address for CLAMAV. lines: of its configuration."""
    path = folder / "clamd.sock"
    config = folder / "clamd.conf"
    settings = [f"DatabaseDirectory {folder / 'signatures'}", f"LocalSocket {path}", "Foreground yes", "User root"]
    config.write_text("\n".join([*settings, f"LogFile {folder / 'clamd.log'}", *lines]) + "\n")
    command = [PROGRAM, "-c", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, path, folder / "clamd.log")
        yield f"unix://{path}"
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)


def ask(address: str, command: str) -> str:
    """One command and its answer, such as PING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(address.removeprefix("unix://"))
        connection.sendall(f"z{command}\0".encode())
        return connection.recv(1000).rstrip(b"\0").decode()


def _wait(process: "subprocess.Popen[bytes]", path: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ask(f"unix://{path}", "PING") == "PONG":
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"clamd did not start: {log.read_text()[-2000:] if log.exists() else 'no log'}")
