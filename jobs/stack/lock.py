"""One stack for a data folder."""

import fcntl
import os
from pathlib import Path

from jobs.stack.errors import StackError


def lock_data_folder(data: Path) -> int:
    """Hold the data folder until this process ends. Returns the open file; a forked child must close it.

    Raises StackError, naming the holder, when another stack runs on the same folder.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StackError(f"DATA={data} cannot be written to ({exc.strerror}); choose another folder") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StackError(
            f"Switchyard already runs on {data} (process {holder}); stop it, or choose another folder with DATA"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
