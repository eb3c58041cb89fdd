"""Indexes in FAISS' files, which every process that searches maps."""

import errno
import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from embeddings.engines.base import Built, Held, IndexDamaged, Searcher, Source
from embeddings.engines.faiss_kinds import Kind, kinds, more_exact
from embeddings.engines.faiss_library import faiss
from embeddings.engines.faiss_searcher import FaissSearcher
from embeddings.engines.faiss_tuning import Tuned, tune
from embeddings.models import IndexVersion
from embeddings.services import folders, manifest
from embeddings.vectors import Ids
from jobs import job

INDEX = "index.faiss"
IDS = "ids.npy"
#: The part of a job's progress that is a build's; before it vectors are copied, after it they are checked.
BEGINS, ENDS = 0.35, 0.9
_WARM_QUERIES = 3


class FaissEngine:
    def build(self, version: IndexVersion, source: Source, held: Held, folder: Path, target: float) -> Built:
        """See `IndexEngine`. Of the kinds that reach the target the fastest is taken, else the most exact."""
        floor = version.collection.recall_floor
        chosen, tried = self._choose(source, held, target, floor)
        job.progress(ENDS, f"{chosen.kind.name} is written")
        _write_ids(source.ids, folder / IDS)
        digest = _write(chosen.index, folder / INDEX)
        return Built(
            kind=chosen.kind.name,
            parameters=dict(chosen.parameters),
            bytes=(folder / INDEX).stat().st_size + (folder / IDS).stat().st_size,
            digest=digest,
            recall_mean=chosen.recall_mean,
            recall_p5=chosen.recall_p5,
            tried=tried,
        )

    def open(self, version: IndexVersion, folder: Path | None) -> Searcher:
        """Map a version's files, once they are found to be whole. Raises IndexDamaged."""
        if folder is None:
            raise IndexDamaged(f"version {version.number} has no files on this host")
        held = folders.hold(folder)
        if held is None:
            raise IndexDamaged(f"{folder} is gone; it was removed, or another version is in use by now")
        try:
            manifest.verify(version, folder)
            ids = np.load(folder / IDS, mmap_mode="r", allow_pickle=False)
            index = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
            searcher = FaissSearcher(index, ids, version.parameters, held.release)
        except IndexDamaged:
            held.release()
            raise
        except (OSError, ValueError, RuntimeError) as exc:
            held.release()
            raise IndexDamaged(f"{folder / INDEX} cannot be opened: {_first_line(exc)}; rebuild the index") from exc
        _warm(searcher)
        return searcher

    def remove(self, version: IndexVersion) -> None:
        """There is nothing outside the folder."""

    def _choose(self, source: Source, held: Held, target: float, floor: float) -> tuple[Tuned, list[dict[str, Any]]]:
        count = len(source.ids)
        candidates, best, rows = kinds(count), None, list[dict[str, Any]]()
        for number, kind in enumerate(candidates):
            tuned = _build_one(kind, source, held, target, floor, number, len(candidates))
            rows.append(tuned.as_row())
            best = tuned if best is None else _better(best, tuned)
        assert best is not None, "there is a kind for every size"
        if not best.reaches and best.kind.parameter:
            tuned = _build_one(more_exact(count), source, held, target, floor, 1, 2)
            rows.append(tuned.as_row())
            best = _better(best, tuned)
        return best, rows


def _build_one(kind: Kind, source: Source, held: Held, target: float, floor: float, number: int, of: int) -> Tuned:
    share = (ENDS - BEGINS) / of

    def report(done: float) -> None:
        job.progress(BEGINS + share * (number + 0.9 * done), f"{kind.name} is built")

    index = kind.make(source, report)
    job.progress(BEGINS + share * (number + 0.9), f"the recall of {kind.name} is measured")
    return tune(kind, index, source, held, target, floor)


def _better(one: Tuned, two: Tuned) -> Tuned:
    if one.reaches and two.reaches:
        return one if one.queries_per_s >= two.queries_per_s else two
    if one.reaches or two.reaches:
        return one if one.reaches else two
    return one if one.recall_mean >= two.recall_mean else two


def _write(index: Any, path: Path) -> str:
    """Write an index. Returns the SHA-256 of what was written, not of what the disk made of it. Raises OSError.

    FAISS' own writer says nothing when the last block does not fit on the disk.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(_Writer(file, digest).write))
        except RuntimeError as exc:
            raise OSError(errno.EIO, f"FAISS could not write: {_first_line(exc)}", str(path)) from exc
    return digest.hexdigest()


def _write_ids(ids: Ids, path: Path) -> None:
    """NumPy's own way to a file does not tell a full disk from other errors."""
    content = io.BytesIO()
    np.save(content, ids, allow_pickle=False)
    path.write_bytes(content.getbuffer())


class _Writer:
    def __init__(self, file: BinaryIO, digest: Any) -> None:
        self._file = file
        self._digest = digest

    def write(self, block: bytes) -> None:
        self._digest.update(block)
        self._file.write(block)


def _warm(searcher: FaissSearcher) -> None:
    """Touch what every search touches, so that the first one does not wait for the disk."""
    queries = np.eye(_WARM_QUERIES, searcher.dimension, dtype=np.float32)
    searcher.search(queries, 10)


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
