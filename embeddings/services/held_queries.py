"""Held queries with their exact answers, and the recall of an index over them."""

import mmap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.engines.base import Held, Source
from embeddings.vectors import Ids, Matrix, unit
from jobs import job

MOST_QUERIES = 200
#: Recall is of this many neighbours.
K = 10
SLICE_ROWS = 16_384
NONE = -1
#: How much of another chunk every other held query has, beside its own. A graph leads to the vectors that are in it
#: much sooner than to others: at 100,000 texts and efSearch 32 it found .95 of the neighbours of its own chunks, .85 of
#: those of texts that are not in it. Lists are the other way round. So both are asked, and the weaker counts.
OTHER = 0.5
#: Scores so close are the same: of equal texts, any answer is right.
SAME = 1e-5

Search = Callable[[Matrix, int], tuple[Ids, Matrix]]


def slices(source: Source, rows: int = SLICE_ROWS) -> Iterator[tuple[int, Matrix]]:
    """(number of the first row, rows as float32) through all of a source."""
    for first in range(0, len(source.ids), rows):
        job.check_cancelled()
        yield first, np.asarray(source.vectors[first : first + rows], dtype=np.float32)
        _let_go(source)


def _let_go(source: Source) -> None:
    """Pages of the file that were read count as this process' memory until they are let go."""
    mapped = getattr(source.vectors, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def hold(source: Source, query_ids: Ids) -> Held:
    """Find the exact answers to some chunks, without the chunks themselves, and to what lies between chunks.

    query_ids: ascending, all in the source; a query each, of which every other one has half as much of another chunk.
    Answers beyond what there is are -1.
    """
    own = np.searchsorted(source.ids, query_ids)
    chunks = np.asarray(source.vectors[own], dtype=np.float32)
    queries, query_ids = chunks.copy(), query_ids.copy()
    queries[1::2] = unit(chunks[1::2] + OTHER * np.roll(chunks, len(chunks) // 2, axis=0)[1::2])
    own[1::2] = query_ids[1::2] = NONE
    scores: Matrix = np.full((len(queries), K), -np.inf, dtype=np.float32)
    rows: Ids = np.full((len(queries), K), NONE, dtype=np.int64)
    for first, vectors in slices(source) if len(queries) else ():
        here = queries @ vectors.T
        inside = np.flatnonzero((own >= first) & (own < first + len(vectors)))
        here[inside, own[inside] - first] = -np.inf
        scores, rows = _best(scores, rows, here, first)
    truth = np.where(np.isfinite(scores), source.ids[rows], NONE) if len(source.ids) else rows
    return Held(queries, query_ids, truth)


def _best(scores: Matrix, rows: Ids, here: Matrix, first: int) -> tuple[Matrix, Ids]:
    """The best K of those so far and those of one slice."""
    numbers = np.broadcast_to(np.arange(first, first + here.shape[1]), here.shape)
    if here.shape[1] > K:
        best_here = np.argpartition(-here, K - 1, axis=1)[:, :K]
        here = np.take_along_axis(here, best_here, axis=1)
        numbers = np.take_along_axis(numbers, best_here, axis=1)
    all_scores, all_rows = np.hstack([scores, here]), np.hstack([rows, numbers])
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :K]
    return np.take_along_axis(all_scores, order, axis=1), np.take_along_axis(all_rows, order, axis=1)


def recalls(search: Search, source: Source, held: Held) -> NDArray[np.float64]:
    """Recall@10 of each held query, 0 to 1; shape (q,). An answer as near as the tenth of the truth is right."""
    if not len(held.queries):
        return np.ones(0)
    # One more is asked for: the chunk that a query was taken from is itself in the index.
    found = np.vstack([search(query[None, :], K + 1)[0] for query in held.queries])
    truth_scores = _scores(source, held.queries, held.truth)
    worst_right = np.where(held.truth == NONE, np.inf, truth_scores).min(axis=1)
    found_scores = _scores(source, held.queries, found)
    right = (found != NONE) & (found != held.query_ids[:, None]) & (found_scores >= worst_right[:, None] - SAME)
    there = (held.truth != NONE).sum(axis=1)
    return np.where(there > 0, np.minimum(right.sum(axis=1), there) / np.maximum(there, 1), 1.0)


def worst_twentieth(measured: NDArray[np.float64]) -> float:
    return float(np.percentile(measured, 5, method="lower")) if len(measured) else 1.0


def mean(measured: NDArray[np.float64]) -> float:
    """Of the weaker kind of query: chunks, or what lies between them."""
    return min((float(kind.mean()) for kind in (measured[0::2], measured[1::2]) if len(kind)), default=1.0)


def _scores(source: Source, queries: Matrix, ids: Ids) -> Matrix:
    """The exact score of each answer; -inf for none. ids: shape (q, n)."""
    flat = ids.ravel()
    rows = np.minimum(np.searchsorted(source.ids, flat), len(source.ids) - 1)
    known = source.ids[rows] == flat
    vectors = np.asarray(source.vectors[rows], dtype=np.float32).reshape(*ids.shape, -1)
    scores: Any = np.einsum("qd,qnd->qn", queries, vectors)
    return np.where(known.reshape(ids.shape), scores, -np.inf).astype(np.float32)
