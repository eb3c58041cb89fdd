"""Vectors as they are read for a search: those that somebody damaged in the table are left out."""

import logging
from collections.abc import Sequence

import numpy as np

from embeddings.vectors import STORED, Ids, Matrix, are_directions, from_bytes

logger = logging.getLogger(__name__)

#: Each damaged vector is told once; past so many, those that are read anew are told again.
MOST_TOLD = 100_000
_told: set[tuple[int, int]] = set()


def read(rows: Sequence[tuple[int, bytes]], model_id: int, dimension: int) -> tuple[Ids, Matrix, list[int]]:
    """The good ones of rows of chunk id and stored vector, in their order, and the chunks of the others.

    Returns ids, shape (n,), vectors, shape (n, dimension), and the ids of those that are left out.
    """
    fitting = [row for row in rows if len(row[1]) == STORED.itemsize * dimension]
    ids = np.array([row[0] for row in fitting], dtype=np.int64)
    vectors = from_bytes([row[1] for row in fitting], dimension)
    good = are_directions(vectors)
    if len(fitting) < len(rows) or not good.all():
        ids, vectors = ids[good], vectors[good]
        damaged = sorted({row[0] for row in rows} - set(ids.tolist()))
        _tell(damaged, model_id)
        return ids, vectors, damaged
    return ids, vectors, []


def forget() -> None:
    """Tell all again."""
    _told.clear()


def _tell(damaged: list[int], model_id: int) -> None:
    new = [one for one in damaged if (model_id, one) not in _told]
    if not new:
        return
    if len(_told) + len(new) > MOST_TOLD:
        _told.clear()
    _told.update((model_id, one) for one in new)
    logger.error(
        "Stored vectors are damaged and left out of searches (%s in all, such as chunk %s's); "
        "rebuild the index, which embeds their texts again",
        len(new),
        new[0],
        extra={"action": "vectors_damaged", "model_id": model_id},
    )
