"""What becomes of files on a disk: their digests, and that they outlive a loss of power."""

import hashlib
import os
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(folder: Path) -> None:
    """Have the disk hold each file of a folder, and the folder. Raises OSError."""
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def sync_names(folder: Path) -> None:
    """Have the disk hold the names in a folder, after one was renamed in it. Raises OSError."""
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
