"""What a search uses, and nothing else: an index, what lies beside it and what has gone, all of one moment."""

import weakref
from dataclasses import dataclass

import numpy as np

from embeddings.engines.base import Searcher
from embeddings.models import EmbeddingModel, IndexVersion
from embeddings.serving.delta import Beside, contained
from embeddings.vectors import Ids, Vector

#: Past so many, an index is not asked for more to make up for those that have gone.
MOST_ASKED = 10_000


class Opened:
    """An open index, closed when the last search that uses it has ended."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self.ids = searcher.ids()
        weakref.finalize(self, searcher.close).atexit = False


@dataclass(frozen=True)
class Tier:
    """All chunks with a vector of one model: those in an index, if there is one, and those beside it.

    tombstones: ascending ids that are in the index and have gone. is_partial: there are more that are in neither.
    damaged: how many are left out because somebody damaged their stored vectors.
    """

    model: EmbeddingModel
    version: IndexVersion | None
    opened: Opened | None
    beside: Beside
    tombstones: Ids
    is_partial: bool = False
    damaged: int = 0

    def __len__(self) -> int:
        return len(self.beside) + (self.opened.searcher.count - len(self.tombstones) if self.opened else 0)

    def nearest(self, query: Vector, k: int, allowed: Ids | None = None) -> tuple[Ids, Vector]:
        """The k nearest to a query of shape (d,), best first; fewer where there are fewer. Raises IndexDamaged.

        allowed: ascending ids; only these are answered.
        """
        ids, scores = self.beside.search(query, k, allowed)
        if self.opened is not None:
            indexed_ids, indexed = self._indexed(self.opened.searcher, query, k, allowed)
            ids, scores = np.concatenate([ids, indexed_ids]), np.concatenate([scores, indexed])
            order = np.lexsort((ids, -scores))[:k]
            ids, scores = ids[order], scores[order]
        return ids, scores

    def _indexed(self, searcher: Searcher, query: Vector, k: int, allowed: Ids | None) -> tuple[Ids, Vector]:
        """Ask for more while what has gone is in the way."""
        ask = min(k + min(len(self.tombstones), k), max(searcher.count, 1))
        while True:
            found = searcher.search(query[np.newaxis, :], ask, allowed)
            ids, scores = found[0][0], found[1][0]
            usable = (ids >= 0) & np.isfinite(scores) & ~contained(ids, self.tombstones)
            if np.count_nonzero(usable) >= k or (ids < 0).any() or ask >= min(searcher.count, MOST_ASKED):
                return ids[usable][:k], scores[usable][:k]
            ask = min(4 * ask, searcher.count, MOST_ASKED)


@dataclass(frozen=True)
class Snapshot:
    """A collection at one moment. A search takes one, and its query is embedded by the models named here.

    main: of the collection's model; None if there is none yet. fast: of the fast tier's. waiting: ascending ids that
    the fast tier has and the main one has not yet. warning: what stands in the way of the newest index, if anything.
    """

    collection_id: int
    main: Tier | None
    fast: Tier | None
    waiting: Ids
    warning: str = ""
