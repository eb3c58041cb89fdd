"""Copies a collection's vectors out of Postgres, as of one moment, in constant memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.engines.base import Source
from embeddings.models import Collection, EmbeddingModel
from embeddings.services.sessions import Session
from embeddings.vectors import STORED, BadVector, Ids, are_directions
from jobs import job

SLICE_ROWS = 8192
#: Of the binary format of COPY: signature, flags, length of an extension.
_HEADER_BYTES = 19
_NOT_READ = "Postgres sent rows of another form than was asked for; report this as an error of Switchyard's"

_EMBEDDED = """
    FROM embeddings_chunk AS c JOIN embeddings_vector AS v ON v.model_id = %(model)s AND v.content_sha = c.content_sha
    WHERE c.collection_id = %(collection)s
"""


@dataclass(frozen=True)
class Moment:
    """fingerprint: over the ids of embedded chunks. watermark: the oldest transaction that may not be in it."""

    count: int
    fingerprint: str
    watermark: int


class BadVectorsStored(BadVector):
    """Stored vectors are no directions. chunk_ids: all whose vector is so, ascending."""

    def __init__(self, chunk_ids: list[int]) -> None:
        shown = ", ".join(map(str, chunk_ids[:10])) + (", …" if len(chunk_ids) > 10 else "")
        super().__init__(
            f"stored vectors are damaged (not finite, or not of length 1), {len(chunk_ids):,} in all: those of chunks "
            f"{shown}; they are removed and embedded again, and the next attempt builds"
        )
        self.chunk_ids = chunk_ids


def look(connection: Session, collection: Collection, model: EmbeddingModel) -> Moment:
    """What is embedded by a model, in the snapshot of the connection's transaction."""
    count, one, two, watermark = connection.execute(
        "SELECT count(*), coalesce(sum(hashint8extended(c.id, 1)), 0), coalesce(sum(hashint8extended(c.id, 2)), 0),"
        f" pg_snapshot_xmin(pg_current_snapshot())::text::bigint {_EMBEDDED}",
        {"collection": collection.pk, "model": model.pk},
    ).fetchone() or (0, 0, 0, 0)
    return Moment(count, f"{count}-{int(one) % 2**64:016x}{int(two) % 2**64:016x}", watermark)


def held_ids(connection: Session, collection: Collection, model: EmbeddingModel, most: int) -> Ids:
    """Chunks that make the held queries: those of the smallest content hashes, so mostly the same each time."""
    rows = connection.execute(
        f"SELECT DISTINCT ON (c.content_sha) c.id {_EMBEDDED} ORDER BY c.content_sha, c.id LIMIT %(most)s",
        {"collection": collection.pk, "model": model.pk, "most": most},
    ).fetchall()
    return np.array(sorted(chunk_id for (chunk_id,) in rows), dtype=np.int64)


def copy_out(
    connection: Session, collection: Collection, model: EmbeddingModel, moment: Moment, path: Path, share: float
) -> Source:
    """Write the vectors of a moment to a file, ordered by chunk id, and map it.

    share: which part of the job's progress this is, from 0. Raises BadVectorsStored once all are read, OSError.
    """
    ids: Ids = np.empty(moment.count, dtype=np.int64)
    done, bad = 0, list[int]()
    with path.open("wb") as file:
        for rows in _slices(connection, collection, model):
            ids[done : done + len(rows)] = rows["id"]
            bad += rows["id"][~are_directions(rows["vector"])].tolist()
            file.write(rows["vector"].tobytes())
            done += len(rows)
            job.progress(share * done / max(moment.count, 1), f"{done:,} of {moment.count:,} vectors copied")
    if bad:
        raise BadVectorsStored(bad)
    shape = (done, model.dimension)
    # A file of no bytes cannot be mapped.
    vectors = np.memmap(path, STORED, "r", shape=shape) if done else np.empty(shape, STORED)
    return Source(ids, vectors, model.dimension)


def _slices(connection: Session, collection: Collection, model: EmbeddingModel) -> Iterator[NDArray[Any]]:
    """Rows with `id` and `vector`, some thousands at a time.

    All rows have one length, so they are read as one array instead of row by row: a vector of another length, which
    somebody must have damaged, comes as zeros.
    """
    layout = np.dtype(
        [
            *(("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i8"), ("vector_bytes", ">i4")),
            ("vector", STORED, (model.dimension,)),
        ]
    )
    whole = "CASE WHEN octet_length(v.vector) = %(bytes)s THEN v.vector ELSE %(zeros)s END"
    query = f"COPY (SELECT c.id, {whole} {_EMBEDDED} ORDER BY c.id) TO STDOUT (FORMAT binary)"
    size = layout["vector"].itemsize
    given = {"collection": collection.pk, "model": model.pk, "bytes": size, "zeros": bytes(size)}
    with (
        connection.cursor() as cursor,
        cursor.copy(query, given) as copy,
    ):
        kept, skip = bytearray(), _HEADER_BYTES
        for block in copy:
            kept += block[skip:]
            skip = max(0, skip - len(block))
            if len(kept) >= SLICE_ROWS * layout.itemsize:
                rows = _rows(kept, layout)
                del kept[: rows.nbytes]
                yield rows
        rows = _rows(kept, layout)
        if len(kept) - rows.nbytes > 2:
            raise RuntimeError(_NOT_READ)
        yield rows


def _rows(kept: bytearray, layout: np.dtype[Any]) -> NDArray[Any]:
    """The whole rows at the beginning of a buffer, copied."""
    rows = np.frombuffer(bytes(kept[: len(kept) // layout.itemsize * layout.itemsize]), layout)
    fits = (rows["fields"] == 2) & (rows["id_bytes"] == 8) & (rows["vector_bytes"] == layout["vector"].itemsize)
    if not fits.all():
        raise RuntimeError(_NOT_READ)
    return rows
