"""Arrays of vectors, and how they are kept: unit length, float16, little-endian."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Vector = NDArray[np.float32]
Ids = NDArray[np.int64]

STORED = np.dtype("<f2")
#: What float16 makes of a unit vector stays well within.
LENGTH_TOLERANCE = 0.05


class BadVector(ValueError):
    """An encoder gave something that is no direction: not finite, all zeros, or of another dimension."""


def unit(rows: Matrix) -> Matrix:
    """Scale each row to length 1. rows: shape (n, d). Raises BadVector for a row that is not finite or all zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        what = "all zeros" if lengths[first, 0] == 0 else "not finite"
        raise BadVector(f"vector {first} of {len(rows)} is {what}")
    return np.asarray(rows / lengths, dtype=np.float32)


def are_directions(rows: Any) -> Any:
    """Which rows of shape (n, d) are finite and of length 1, as all are that were stored. Returns booleans, (n,)."""
    lengths = np.linalg.norm(np.asarray(rows, dtype=np.float32), axis=1)
    return np.abs(lengths - 1) < LENGTH_TOLERANCE


def to_bytes(rows: Matrix) -> list[bytes]:
    """Each row as it is stored. rows: shape (n, d), unit length; returns n times 2·d bytes."""
    stored = np.ascontiguousarray(rows, dtype=STORED)
    return [row.tobytes() for row in stored]


def from_bytes(stored: Sequence[bytes | memoryview], dimension: int) -> Matrix:
    """The other way round. Returns shape (n, dimension). Raises BadVector if one has another length."""
    wrong = next((len(one) for one in stored if len(one) != 2 * dimension), None)
    if wrong is not None:
        raise BadVector(f"a stored vector has {wrong} bytes; {dimension} dimensions take {2 * dimension}")
    return np.frombuffer(b"".join(stored), dtype=STORED).reshape(len(stored), dimension).astype(np.float32)
