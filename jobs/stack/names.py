"""Names of workers: one for each process, and after its death free for the next."""

import fcntl
import hashlib
import os
import socket
import tempfile
from itertools import count
from pathlib import Path

from django.conf import settings

#: Open for as long as this process lives: the kernel then gives the name free, however it ends.
_held: list[int] = []


def node_name(lane: str) -> str:
    """`lane@host`, or `lane.2@host` beside a living worker of the same lane and database on this machine, and so on.

    A worker that is started in the place of a dead one gets its name, by which the ledger knows at once that the dead
    one's jobs are nobody's any more. Two living ones of a name would take each other's jobs.
    """
    database = settings.DATABASES["default"]
    key = "|".join(str(database.get(part, "")) for part in ("HOST", "PORT", "NAME"))
    folder = Path(tempfile.gettempdir()) / f"switchyard-workers-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in count(1):
        name = lane if number == 1 else f"{lane}.{number}"
        if _take(folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{name}"):
            return f"{name}@{socket.gethostname()}"
    raise AssertionError("unreachable")


def _take(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    _held.append(descriptor)
    return True
