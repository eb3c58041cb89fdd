"""The exact delta beside an index: what became searchable since it was built, and what has gone.

Followed by the triggers' rows of `Change`; see its docstring for why by transactions and not by ids.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection

from embeddings.serving import stored
from embeddings.vectors import Ids, Matrix, Vector

#: So many chunks lie beside an index at most, the newest: a scan of them takes milliseconds.
MOST_BESIDE = 50_000
#: Rows of which so large a part is dead are written anew without these.
MOST_DEAD = 0.5

ALL_UNSEEN = "1:1:"
_NO_IDS: Ids = np.empty(0, dtype=np.int64)

#: What the snapshot that was taken last did not see. A transaction's own deletes may yet be rolled back.
_CHANGES = """
    SELECT coalesce(array_agg(chunk_id) FILTER (WHERE model_id IS NOT NULL), '{}'),
           coalesce(array_agg(chunk_id) FILTER (WHERE model_id IS NULL), '{}')
    FROM embeddings_change
    WHERE collection_id = %(collection)s AND (model_id = %(model)s OR model_id IS NULL)
      AND xid >= pg_snapshot_xmin(%(seen)s::pg_snapshot) AND NOT pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot)
      AND (model_id IS NOT NULL OR xid IS DISTINCT FROM pg_current_xact_id_if_assigned())
"""
_VECTORS = """
    SELECT c.id, v.vector
    FROM unnest(%(ids)s::bigint[]) AS wanted (id)
    JOIN embeddings_chunk AS c ON c.id = wanted.id
    JOIN embeddings_vector AS v ON v.model_id = %(model)s AND v.content_sha = c.content_sha
    WHERE c.collection_id = %(collection)s
    ORDER BY c.id
"""
_NEWEST = """
    SELECT c.id, v.vector
    FROM embeddings_chunk AS c
    JOIN embeddings_vector AS v ON v.model_id = %(model)s AND v.content_sha = c.content_sha
    WHERE c.collection_id = %(collection)s
    ORDER BY c.id DESC
    LIMIT %(most)s
"""


def contained(ids: Ids, among: Ids) -> Any:
    """Which of ids are among others, which ascend. Returns a boolean array of the shape of ids."""
    if not len(among) or not len(ids):
        return np.zeros(len(ids), dtype=bool)
    places = np.searchsorted(among, ids)
    return among[np.minimum(places, len(among) - 1)] == ids


@dataclass(frozen=True)
class Beside:
    """Chunks beside an index, as they were at one moment; never written to again.

    ids: shape (n,), in the order of their coming. vectors: shape (n, d). alive: boolean of shape (n,), or None if all
    of them are.
    """

    ids: Ids
    vectors: Matrix
    alive: Any = None

    def __len__(self) -> int:
        return len(self.ids) if self.alive is None else int(np.count_nonzero(self.alive))

    def living(self) -> Ids:
        return self.ids if self.alive is None else self.ids[self.alive]

    def search(self, query: Vector, k: int, allowed: Ids | None = None) -> tuple[Ids, Vector]:
        """The k nearest to a query of shape (d,), exactly, best first; fewer where there are fewer.

        allowed: ascending ids; only these are answered.
        """
        usable = self.alive
        if allowed is not None:
            inside = contained(self.ids, allowed)
            usable = inside if usable is None else inside & usable
        rows = np.arange(len(self.ids)) if usable is None else np.flatnonzero(usable)
        vectors = self.vectors if usable is None else self.vectors[rows]
        scores = vectors @ query
        if len(rows) > k:
            best = np.argpartition(-scores, k - 1)[:k]
            rows, scores = rows[best], scores[best]
        order = np.lexsort((self.ids[rows], -scores))
        return self.ids[rows][order], scores[order]


class Growing:
    """Rows to which more are added in place: what was read before is never written to, so it may go on being read."""

    def __init__(self, dimension: int) -> None:
        self._ids: Ids = np.empty(256, dtype=np.int64)
        self._vectors: Matrix = np.empty((256, dimension), dtype=np.float32)
        self._count = 0

    def add(self, ids: Ids, vectors: Matrix) -> None:
        """ids: shape (n,). vectors: shape (n, d)."""
        end = self._count + len(ids)
        if end > len(self._ids):
            room = max(end, 2 * len(self._ids))
            grown_ids = np.empty(room, dtype=np.int64)
            grown = np.empty((room, self._vectors.shape[1]), dtype=np.float32)
            grown_ids[: self._count], grown[: self._count] = self._ids[: self._count], self._vectors[: self._count]
            self._ids, self._vectors = grown_ids, grown
        self._ids[self._count : end], self._vectors[self._count : end] = ids, vectors
        self._count = end

    def rows(self) -> tuple[Ids, Matrix]:
        return self._ids[: self._count], self._vectors[: self._count]


class Delta:
    """Follows a collection's changes of one model, beside an index that holds some ids (none: beside no index).

    Not for several threads at once.
    """

    def __init__(self, collection_id: int, model_id: int, dimension: int, held: Ids | None, watermark: int) -> None:
        """held: ascending ids in the index. watermark: the oldest transaction that the index may not have seen."""
        self._of = {"collection": collection_id, "model": model_id}
        self._dimension = dimension
        self._held = _NO_IDS if held is None else held
        self._has_index = held is not None
        # A snapshot that saw all before the watermark and nothing from it on.
        self._seen = f"{watermark}:{watermark}:" if watermark > 0 else ALL_UNSEEN
        self._known: set[int] = set()
        self._growing = Growing(dimension)
        self._dead: set[int] = set()
        self.tombstones: Ids = _NO_IDS
        #: Whether there was more than may lie beside an index.
        self.is_partial = False
        #: Chunks whose stored vectors are damaged, which are left out.
        self.damaged: set[int] = set()

    def load(self) -> None:
        """What there is at the beginning: all since the watermark, or, without an index, the newest of all."""
        with connection.cursor() as cursor:
            if self._has_index:
                self._mistrust_the_future(cursor)
                self._follow(cursor)
                return
            seen = self._take_snapshot(cursor)
            cursor.execute(_NEWEST, {**self._of, "most": MOST_BESIDE + 1})
            rows = cursor.fetchall()
        self.is_partial = len(rows) > MOST_BESIDE
        self._add(rows[:MOST_BESIDE][::-1])
        self._seen = seen or self._seen

    def follow(self) -> bool:
        """Take in what was committed since the last time. Returns whether anything changed."""
        with connection.cursor() as cursor:
            return self._follow(cursor)

    def beside(self) -> Beside:
        ids, vectors = self._growing.rows()
        dead = np.fromiter(sorted(self._dead), dtype=np.int64, count=len(self._dead))
        return Beside(ids, vectors, ~contained(ids, dead) if len(dead) else None)

    def holds(self, ids: Ids) -> Any:
        """Which of ids the index or the delta has, or had. Returns a boolean array."""
        known = np.fromiter(self._known, dtype=np.int64, count=len(self._known))
        known.sort()
        return contained(ids, self._held) | contained(ids, known)

    def _follow(self, cursor: Any) -> bool:
        seen = self._take_snapshot(cursor)
        cursor.execute(_CHANGES, {**self._of, "seen": self._seen})
        came, went = cursor.fetchone()
        changed = self._bury(went)
        changed |= self._take_in(cursor, set(came) - set(went))
        self._seen = seen or self._seen
        return changed

    def _mistrust_the_future(self, cursor: Any) -> None:
        """A watermark that this server has not reached is another server's, of which this database is a copy."""
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmin(%s)", [self._seen])
        if cursor.fetchone()[0]:
            self._seen = ALL_UNSEEN

    @staticmethod
    def _take_snapshot(cursor: Any) -> str | None:
        """Before what is read next, so that this is never older. None inside of a transaction that has written:

        its own snapshot would count its changes as seen, also if they are rolled back.
        """
        cursor.execute("SELECT pg_current_snapshot()::text, pg_current_xact_id_if_assigned() IS NOT NULL")
        seen, has_written = cursor.fetchone()
        return None if has_written else seen

    def _bury(self, went: list[int]) -> bool:
        """Note what has gone of what the index and the delta hold."""
        gone = np.unique(np.asarray(went, dtype=np.int64))
        in_index = gone[contained(gone, self._held)]
        in_index = in_index[~contained(in_index, self.tombstones)]
        if len(in_index):
            self.tombstones = np.union1d(self.tombstones, in_index)
        beside = (set(went) & self._known) - self._dead
        self.damaged -= set(went)
        self._dead |= beside
        self._compact()
        return bool(len(in_index) or beside)

    def _compact(self) -> None:
        ids, vectors = self._growing.rows()
        if len(ids) < 1000 or len(self._dead) < MOST_DEAD * len(ids):
            return
        alive = self.beside().alive
        self._growing = Growing(self._dimension)
        self._growing.add(ids[alive], vectors[alive])
        self._known -= self._dead
        self._dead.clear()

    def _take_in(self, cursor: Any, came: set[int]) -> bool:
        fresh = np.fromiter(sorted(came - self._known), dtype=np.int64)
        fresh = fresh[~contained(fresh, self._held)]
        room = max(0, MOST_BESIDE - len(self._known) + len(self._dead))
        if len(fresh) > room:
            self.is_partial = True
            fresh = fresh[len(fresh) - room :]
        if not len(fresh):
            return False
        cursor.execute(_VECTORS, {**self._of, "ids": fresh.tolist()})
        return self._add(cursor.fetchall())

    def _add(self, rows: list[tuple[int, bytes]]) -> bool:
        if not rows:
            return False
        ids, vectors, damaged = stored.read(rows, self._of["model"], self._dimension)
        self._growing.add(ids, vectors)
        self._known.update(ids.tolist())
        # One that was damaged may have been embedded again.
        self.damaged = (self.damaged - self._known) | set(damaged)
        return True
