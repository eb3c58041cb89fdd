"""Indexes as tables in Postgres, for those who want one store.

Source: pgvector README (HNSW, halfvec, iterative index scans).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from django.db import ProgrammingError, connection, transaction
from pgvector import HalfVector
from psycopg import errors, sql

from embeddings.engines import pgvector_store as store
from embeddings.engines.base import Built, Held, IndexDamaged, Source
from embeddings.models import IndexVersion
from embeddings.services import held_queries
from embeddings.vectors import STORED, Ids, Matrix
from jobs import job

#: Up to so many a scan takes about a millisecond, and is exact.
EXACT_UP_TO = 5_000
#: Up to so many a scan is still better than an index that misses its recall.
EXACT_AT_WORST = 100_000
EF_SEARCH = (40, 64, 100, 160, 250, 400, 640, 1000)
MOST_EF = 1000
#: A filter that leaves fewer is answered from those rows alone.
FEW_ALLOWED = 5_000
NONE = -1


class PgvectorEngine:
    """See `IndexEngine`. The folder is not used: a version is the table embeddings_pgindex_<its id>."""

    def build(self, version: IndexVersion, source: Source, held: Held, folder: Path, target: float) -> Built:
        """In one transaction, so that a build that dies leaves nothing."""
        store.require_extension()
        with transaction.atomic():
            job.progress(0.3, "copying vectors to Postgres")
            store.fill(version.pk, source)
            tried, chosen = _choose(version.pk, source, held, target)
            size = store.size(version.pk)
        return Built(
            kind=chosen["kind"],
            parameters=chosen["parameters"],
            bytes=size,
            digest=digest(source),
            recall_mean=chosen["recall_mean"],
            recall_p5=chosen["recall_p5"],
            tried=tried,
        )

    def open(self, version: IndexVersion, folder: Path | None) -> "PgvectorSearcher":
        """Raises IndexDamaged if the table is gone or holds another number of vectors than were built."""
        searcher = PgvectorSearcher(version.pk, version.count, version.parameters)
        searcher.check()
        return searcher

    def remove(self, version: IndexVersion) -> None:
        store.drop(version.pk)


def digest(source: Source) -> str:
    """SHA-256 over ids and vectors, hexadecimal: of what is in the index, since the table is not one file."""
    found = hashlib.sha256(np.ascontiguousarray(source.ids, dtype="<i8").tobytes())
    for first in range(0, len(source.ids), store.SLICE):
        found.update(np.ascontiguousarray(source.vectors[first : first + store.SLICE], dtype=STORED).tobytes())
    return found.hexdigest()


def _choose(version_id: int, source: Source, held: Held, target: float) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All kinds that were measured, and the one that stays."""
    count = len(source.ids)
    if count <= EXACT_UP_TO or source.dimension > store.MOST_INDEXED:
        exact = _measure(version_id, source, "exact", {}, held)
        return [exact], exact
    store.build_hnsw(version_id, count, source.dimension)
    tried = []
    for number, ef in enumerate(EF_SEARCH):
        job.progress(0.8 + 0.1 * number / len(EF_SEARCH), "measuring recall")
        kind = "hnsw,halfvec"
        tried.append(_measure(version_id, source, kind, {"ef_search": ef, **store.HNSW}, held))
        if tried[-1]["recall_mean"] >= target:
            return tried, tried[-1]
    if count <= EXACT_AT_WORST:
        store.drop_hnsw(version_id)
        tried.append(_measure(version_id, source, "exact", {}, held))
    return tried, max(tried, key=lambda one: one["recall_mean"])


def _measure(version_id: int, source: Source, kind: str, parameters: dict[str, Any], held: Held) -> dict[str, Any]:
    """Recall@10 of held queries by these parameters, in the version's table as it is now."""
    count = len(source.ids)
    measured = held_queries.recalls(PgvectorSearcher(version_id, count, parameters).search, source, held)
    return {
        "kind": kind,
        "parameters": parameters,
        "recall_mean": held_queries.mean(measured),
        "recall_p5": held_queries.worst_twentieth(measured),
    }


class PgvectorSearcher:
    """Asks on the calling thread's connection, in a transaction of its own, so any number of threads may."""

    def __init__(self, version_id: int, count: int, parameters: dict[str, Any]) -> None:
        self.count = count
        self._version_id = version_id
        self._ef = int(parameters.get("ef_search", 0))

    def check(self) -> None:
        with self._reading() as cursor:
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(store.identifier(self._version_id)))
            found = cursor.fetchone()[0]
        if found != self.count:
            raise IndexDamaged(
                f"table {store.table_of(self._version_id)} holds {found} vectors instead of {self.count}"
            )

    def ids(self) -> Ids:
        table = store.identifier(self._version_id)
        statement = sql.SQL("COPY (SELECT chunk_id FROM {} ORDER BY chunk_id) TO STDOUT (FORMAT binary)").format(table)
        with self._reading() as cursor, cursor.copy(statement) as copy:
            stream = b"".join(bytes(part) for part in copy)
        row = np.dtype([("fields", ">i2"), ("length", ">i4"), ("id", ">i8")])
        # A header of 19 bytes goes before the rows, two bytes come after them.
        return np.frombuffer(stream, dtype=row, offset=19, count=(len(stream) - 21) // row.itemsize)["id"].astype("<i8")

    def search(self, queries: Matrix, k: int, allowed: Ids | None = None) -> tuple[Ids, Matrix]:
        ids = np.full((len(queries), k), NONE, dtype=np.int64)
        scores = np.zeros((len(queries), k), dtype=np.float32)
        if k < 1 or (allowed is not None and not len(allowed)):
            return ids, scores
        filtered = None if allowed is None else "{" + ",".join(map(str, allowed.tolist())) + "}"
        few = allowed is not None and len(allowed) <= FEW_ALLOWED
        wanted = min(k, self.count if allowed is None else len(allowed))
        with self._reading() as cursor:
            self._set(cursor, k, filtered is not None)
            for place, query in enumerate(queries):
                text = HalfVector(np.asarray(query, dtype=np.float32)).to_text()
                rows = self._nearest(cursor, text, k, filtered, exact=few)
                if len(rows) < wanted and not few:
                    # The scan of the index gave up: it looks at so many rows and no more.
                    rows = self._nearest(cursor, text, k, filtered, exact=True)
                for rank, (chunk_id, score) in enumerate(rows):
                    ids[place, rank], scores[place, rank] = chunk_id, score
        return ids, scores

    def close(self) -> None:
        """Nothing is held."""

    def _set(self, cursor: Any, k: int, is_filtered: bool) -> None:
        if self._ef:
            # Fewer candidates than k would find fewer than k.
            cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(min(max(self._ef, k), MOST_EF))])
            going_on = "relaxed_order" if is_filtered or k > MOST_EF else "off"
            cursor.execute("SELECT set_config('hnsw.iterative_scan', %s, true)", [going_on])

    def _nearest(
        self, cursor: Any, query: str, k: int, filtered: str | None, *, exact: bool
    ) -> list[tuple[int, float]]:
        """The rows of one query. exact: past the index, which serves the bare operator alone."""
        distance = sql.SQL("(vector <#> %s::halfvec) + 0") if exact else sql.SQL("vector <#> %s::halfvec")
        where = sql.SQL("" if filtered is None else "WHERE chunk_id = ANY (%s::bigint[])")
        statement = sql.SQL("SELECT chunk_id, {} AS distance FROM {} {} ORDER BY distance LIMIT %s").format(
            distance, store.identifier(self._version_id), where
        )
        cursor.execute(statement, [query, *([] if filtered is None else [filtered]), k])
        # Iterative scans that are relaxed give what they find in a slightly different order.
        return sorted(((row[0], -row[1]) for row in cursor.fetchall()), key=lambda row: -row[1])

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                yield cursor
        except (ProgrammingError, errors.UndefinedTable) as exc:
            if not isinstance(exc.__cause__ or exc, errors.UndefinedTable | errors.UndefinedObject):
                raise
            raise IndexDamaged(f"table {store.table_of(self._version_id)} is gone") from None
