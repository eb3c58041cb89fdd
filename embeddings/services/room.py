"""Room on a disk for a build: looked at before, and told when it was not enough."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from embeddings.errors import DiskFull
from embeddings.models import EmbeddingModel
from embeddings.services import store

MIB = 1 << 20
SPARE_BYTES = 64 * MIB
_FULL = (errno.ENOSPC, errno.EDQUOT)


def check(folder: Path, count: int, model: EmbeddingModel) -> None:
    """Raise DiskFull before a build that the disk has no room for."""
    free = shutil.disk_usage(folder).free
    needed = _needed(count, model)
    if free < needed:
        raise DiskFull(_message(folder.parent, free, needed, count))


@contextlib.contextmanager
def told(folder: Path, count: int, model: EmbeddingModel) -> Iterator[None]:
    """Say what a build needs when the disk fills in the middle of it. folder: that of the build. Raises DiskFull."""
    try:
        yield
    except OSError as exc:
        if isinstance(exc, DiskFull) or exc.errno not in _FULL:
            raise
        free, place = min((shutil.disk_usage(place).free, place) for place in _places(folder))
        raise DiskFull(f"{_message(place, free, _needed(count, model), count)} ({exc.strerror})") from exc


def _places(folder: Path) -> list[Path]:
    """Where a build writes."""
    return [place for place in (folder.parent, store.local_root()) if place.is_dir()]


def _needed(count: int, model: EmbeddingModel) -> int:
    """Float16 vectors, and an index up to their size."""
    return 2 * 2 * count * model.dimension + SPARE_BYTES


def _message(place: Path, free: int, needed: int, count: int) -> str:
    return (
        f"{place} has {free // MIB:,} MiB free, and a build of {count:,} vectors needs "
        f"about {needed // MIB:,} MiB; make room there, or set DATA to a larger disk"
    )
