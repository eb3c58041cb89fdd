"""Writes vectors by COPY: straight into their table, or past those that are there already through a staging table."""

from collections.abc import Sequence

import numpy as np
from django.db import IntegrityError, connection, transaction
from psycopg.errors import UniqueViolation

from embeddings.models import EmbeddingModel
from embeddings.vectors import BadVector, Matrix, to_bytes

#: How far from 1 the length of a vector may be: float32 sums stray by 1e-6, a vector that was never scaled by far more.
LENGTH_TOLERANCE = 0.01

# One text instead of an array of values, which psycopg would write one by one. LIMIT has the planner ask for each.
_KNOWN = """
    SELECT EXISTS (
        SELECT FROM unnest(string_to_array(%s, ' ')) AS given (sha), LATERAL (
            SELECT FROM embeddings_vector
            WHERE model_id = %s AND content_sha = decode(given.sha, 'hex') LIMIT 1) AS known)
"""
_COPY = "COPY embeddings_vector (model_id, content_sha, vector) FROM STDIN (FORMAT binary)"
_STAGE = """
    CREATE TEMPORARY TABLE IF NOT EXISTS embeddings_staging (
        model_id bigint NOT NULL, content_sha bytea NOT NULL, vector bytea STORAGE PLAIN NOT NULL)
        ON COMMIT DELETE ROWS
"""
_COPY_TO_STAGING = "COPY embeddings_staging (model_id, content_sha, vector) FROM STDIN (FORMAT binary)"
_INSERT = """
    INSERT INTO embeddings_vector (model_id, content_sha, vector)
    SELECT model_id, content_sha, vector FROM embeddings_staging ORDER BY content_sha
    ON CONFLICT DO NOTHING
"""

Row = tuple[int, bytes, bytes]


def store_vectors(model: EmbeddingModel, shas: Sequence[bytes], vectors: Matrix, *, were_unknown: bool = False) -> int:
    """Keep what a model made of contents, in the caller's transaction if there is one; what is there already stays.

    shas: SHA-256 of each content, 32 bytes. vectors: shape (n, model.dimension), unit length. were_unknown: none of
    them was there when the caller looked, so a further look is spared. Returns how many are new. Raises BadVector,
    before anything is written, for vectors that are none of this model.
    """
    if len(shas) != len(vectors):
        raise BadVector(f"{len(vectors)} vectors came for {len(shas)} contents")
    if not len(shas):
        return 0
    bad = find_bad(vectors, model.dimension)
    if bad:
        first = min(bad)
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise BadVector(f"vector {first} of {len(vectors)} {bad[first]}{more}")
    # In one order everywhere: of two that write the same contents one waits, instead of each for the other.
    rows = sorted((model.pk, sha, vector) for sha, vector in zip(shas, to_bytes(vectors), strict=True))
    if were_unknown or not _is_any_known(model, shas):
        try:
            with transaction.atomic():
                return _copy(_COPY, rows)
        except IntegrityError as exc:
            if not isinstance(exc.__cause__, UniqueViolation):
                raise
    with transaction.atomic(savepoint=False):
        return _insert_unknown(rows)


def _is_any_known(model: EmbeddingModel, shas: Sequence[bytes]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN, [" ".join(map(bytes.hex, shas)), model.pk])
        return bool(cursor.fetchone()[0])


def _insert_unknown(rows: Sequence[Row]) -> int:
    """Write those whose contents have no vector. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_STAGE)
        # Of an earlier call in the same transaction.
        cursor.execute("DELETE FROM embeddings_staging")
        _copy(_COPY_TO_STAGING, rows)
        cursor.execute(_INSERT)
        return int(cursor.rowcount)


def _copy(statement: str, rows: Sequence[Row]) -> int:
    with connection.cursor() as cursor, connection.wrap_database_errors:
        with cursor.copy(statement) as copy:
            copy.set_types(["int8", "bytea", "bytea"])
            for row in rows:
                copy.write_row(row)
        return int(cursor.rowcount)


def find_bad(vectors: Matrix, dimension: int) -> dict[int, str]:
    """What is wrong with which rows; empty if nothing is. vectors: shape (n, d).

    Raises BadVector if d is not the dimension: then no row is any good.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise BadVector(f"vectors have the shape {vectors.shape}; the model has {dimension} dimensions")
    lengths = np.linalg.norm(vectors.astype(np.float32, copy=False), axis=1)
    bad: dict[int, str] = {}
    for row in np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE)).tolist():
        length = float(lengths[row])
        if not np.isfinite(length):
            bad[row] = "is not finite"
        else:
            bad[row] = "is all zeros" if length == 0 else f"has the length {length:.3g} instead of 1"
    return bad
