"""Folders of index files on this host: who uses one, and how one is removed.

Each holds a file `lock`. Whoever builds, fetches or maps what is in the folder has a shared flock on it, which ends
with the process whatever ends that; so a folder whose lock can be had alone is nobody's.
"""

import contextlib
import fcntl
import os
import re
import shutil
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

LOCK = "lock"
BUILDING = ".building-"
FETCHING = ".fetching-"
REMOVING = ".removing-"
TEMPORARY = (BUILDING, FETCHING, REMOVING)
#: As `new_name` makes them. What else lies in a storage that is shared is somebody else's, such as static tables.
_VERSION = r"[a-z0-9][a-z0-9._-]*-[1-9][0-9]*-[0-9a-f]{8}"
_VERSIONS = re.compile(_VERSION)
_TEMPORARIES = re.compile(
    rf"\.(building|fetching)-{_VERSION}|\.removing-((building|fetching|removing)-)*{_VERSION}(-\d+)+"
)


class Hold:
    """A shared lock on a folder, until `release` or until nobody refers to it."""

    def __init__(self, lock: int) -> None:
        self._release = weakref.finalize(self, os.close, lock)

    def release(self) -> None:
        self._release()


def new_name(collection: str, number: int) -> str:
    """For the folder of a version. It was never used, also not by a database of which this one is a copy."""
    return f"{collection}-{number}-{uuid.uuid4().hex[:8]}"


def is_of_version(name: str) -> bool:
    """Whether a folder is named as those of versions are."""
    return _VERSIONS.fullmatch(name) is not None


def indexes_dir() -> Path:
    """INDEXES_DIR, made if need be."""
    found = Path(settings.EMBEDDINGS["INDEXES_DIR"])
    found.mkdir(parents=True, exist_ok=True)
    return found


def make(name: str, place: Path | None = None) -> tuple[Path, Hold]:
    """A new folder, in INDEXES_DIR if no place is given, that is held from its first moment. Raises FileExistsError."""
    folder = (place or indexes_dir()) / name
    with _nobody_removes():
        folder.mkdir()
        (folder / LOCK).touch()
        held = hold(folder)
    assert held is not None, "nobody else can have it"
    return folder, held


def hold(folder: Path) -> Hold | None:
    """Keep a folder from being removed. None if it is gone, or is being removed at this moment."""
    with contextlib.suppress(OSError):
        # A copy that somebody made by hand may be without.
        (folder / LOCK).touch()
    lock = _lock(folder, fcntl.LOCK_SH)
    if lock is None:
        return None
    # It may have been renamed between its opening and the lock.
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(lock), (folder / LOCK).stat()):
            return Hold(lock)
    os.close(lock)
    return None


def in_use(folder: Path) -> bool:
    """Whether some process holds it."""
    if not (folder / LOCK).exists():
        return False
    lock = _lock(folder, fcntl.LOCK_EX)
    if lock is None:
        return (folder / LOCK).exists()
    os.close(lock)
    return False


def remove(folder: Path) -> bool:
    """Remove a folder that nobody holds. Returns False, removing nothing, if somebody does."""
    if not folder.exists():
        return True
    lock = _lock(folder, fcntl.LOCK_EX)
    if lock is None and (folder / LOCK).exists():
        return False
    # Renamed first: who finds it under its name finds it whole.
    gone = folder.with_name(f"{REMOVING}{folder.name.lstrip('.')}-{os.getpid()}")
    try:
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    except FileNotFoundError:
        pass
    finally:
        if lock is not None:
            os.close(lock)
    return True


def remove_leftovers(*places: Path) -> list[str]:
    """Remove temporary folders whose process has ended, in INDEXES_DIR and other places. Returns their names."""
    with _nobody_removes():
        return sorted(folder.name for folder in _temporary(*places) if remove(folder))


def leftovers(*places: Path) -> list[str]:
    """What `remove_leftovers` would remove."""
    with _nobody_removes():
        return sorted(folder.name for folder in _temporary(*places) if not in_use(folder))


def _temporary(*places: Path) -> list[Path]:
    """Folders that builds, fetches and removals of versions have made."""
    found = [folder for place in {indexes_dir(), *places} if place.is_dir() for folder in place.iterdir()]
    return [folder for folder in found if _TEMPORARIES.fullmatch(folder.name) and folder.is_dir()]


def _lock(folder: Path, kind: int) -> int | None:
    """A lock on a folder, or None if it is gone or the lock is not to be had at once."""
    try:
        # NFS gives a lock of one's own only on a file that is open for writing.
        handle = os.open(folder / LOCK, os.O_RDWR if kind == fcntl.LOCK_EX else os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


@contextlib.contextmanager
def _nobody_removes() -> Iterator[None]:
    """Alone among those who make and remove temporary folders: a new one is without its lock for a moment."""
    handle = os.open(indexes_dir() / ".making", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
