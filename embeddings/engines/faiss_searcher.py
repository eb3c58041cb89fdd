"""An open FAISS index: answers queries in any number of threads, within allowed ids where asked."""

from collections.abc import Callable
from typing import Any

import numpy as np

from embeddings.engines.base import IndexDamaged
from embeddings.engines.faiss_library import faiss
from embeddings.vectors import Ids, Matrix

NONE = -1
#: Below this share of allowed rows, a graph finds too few of them: all are compared instead.
GRAPH_SHARE = 0.5


class FaissSearcher:
    """ids: shape (n,), ascending; row number → chunk id. parameters: `nprobe` or `efSearch`, as the kind has them."""

    def __init__(
        self, index: Any, ids: Ids, parameters: dict[str, Any], release: Callable[[], None] | None = None
    ) -> None:
        if index.ntotal != len(ids):
            raise IndexDamaged(f"the index holds {index.ntotal:,} vectors, and there are {len(ids):,} ids")
        self.count = len(ids)
        self.dimension = int(index.d)
        self._index = index
        self._ids = ids
        self._parameters = parameters
        self._release = release

    def ids(self) -> Ids:
        return self._ids

    def search(self, queries: Matrix, k: int, allowed: Ids | None = None) -> tuple[Ids, Matrix]:
        """See `Searcher`. Any number of threads may search at once; each uses one core."""
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f"queries of shape {queries.shape} do not fit an index of {self.dimension} dimensions")
        # A thread that has not said so would start one more for each core.
        faiss.omp_set_num_threads(1)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        most = min(k, self.count)
        found: tuple[Ids, Matrix] = (
            np.full((len(queries), k), NONE, dtype=np.int64),
            np.full((len(queries), k), -np.inf, dtype=np.float32),
        )
        if most == 0:
            return found
        if allowed is None:
            scores, rows = self._index.search(queries, most, params=self._params(None, 1.0))
        else:
            scores, rows = self._search_allowed(queries, most, allowed)
        there = rows != NONE
        found[0][:, :most] = np.where(there, self._ids[np.where(there, rows, 0)], NONE)
        found[1][:, :most] = np.where(there, scores, -np.inf)
        return found

    def close(self) -> None:
        """Let the files be removed. What is mapped stays so until the last search has ended."""
        if self._release is not None:
            self._release()

    def _search_allowed(self, queries: Matrix, k: int, allowed: Ids) -> tuple[Matrix, Ids]:
        places = np.minimum(np.searchsorted(self._ids, allowed), self.count - 1)
        rows = places[self._ids[places] == allowed]
        if not len(rows):
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), NONE, np.int64)
        mask = np.zeros(self.count, dtype=np.bool_)
        mask[rows] = True
        # FAISS keeps a pointer into the bits, so they must outlive the search.
        bits = np.packbits(mask, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        share = len(rows) / self.count
        if isinstance(self._index, faiss.IndexHNSW) and share < GRAPH_SHARE:
            flat = faiss.downcast_index(self._index.storage)
            return flat.search(queries, k, params=faiss.SearchParameters(sel=selector))
        return self._index.search(queries, k, params=self._params(selector, share))

    def _params(self, selector: Any, share: float) -> Any:
        """share: of rows that are allowed; the fewer, the further is searched."""
        only = {} if selector is None else {"sel": selector}
        further = 1 / max(share, 1e-9)
        if isinstance(self._index, faiss.IndexIVF):
            nprobe = min(int(self._parameters.get("nprobe", 1) * further), self._index.nlist)
            return faiss.SearchParametersIVF(nprobe=nprobe, **only)
        if isinstance(self._index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=int(self._parameters.get("efSearch", 16) * further), **only)
        return faiss.SearchParameters(**only) if only else None
