"""Kinds of FAISS index, built in slices so that the vectors never lie in memory as a whole."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from embeddings.engines.base import Source
from embeddings.engines.faiss_library import CORES, faiss
from embeddings.services.held_queries import slices
from embeddings.vectors import Ids, Matrix

#: Up to here every vector is compared: faster than anything cleverer is to build.
FLAT_UP_TO = 20_000
#: Up to here a graph is tried; its build takes too long beyond.
HNSW_UP_TO = 200_000
#: FAISS asks for 39 at least.
TRAINED_ON_PER_LIST = 40
EF_CONSTRUCTION = 80
SEED = 1234
EF_SEARCH = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
NPROBE = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

FLAT = "SQfp16"
HNSW = "HNSW16_SQ8"

Report = Callable[[float], None]


@dataclass(frozen=True)
class Kind:
    """parameter: what trades speed for recall, and the values that are tried, ascending; none for exact search."""

    name: str
    make: Callable[[Source, Report], Any]
    parameter: str = ""
    values: tuple[int, ...] = ()


def kinds(count: int) -> list[Kind]:
    """What is worth a try for so many vectors."""
    if count <= FLAT_UP_TO:
        return [flat()]
    graph = [hnsw()] if count <= HNSW_UP_TO else []
    return [*graph, ivf(count, "SQ8")]


def more_exact(count: int) -> Kind:
    """What is tried when none of `kinds` reaches the recall."""
    return flat() if count <= HNSW_UP_TO else ivf(count, FLAT)


def flat() -> Kind:
    return Kind(FLAT, _make_flat)


def hnsw() -> Kind:
    return Kind(HNSW, _make_hnsw, "efSearch", EF_SEARCH)


def ivf(count: int, codes: str) -> Kind:
    """512 lists at 20,000 vectors, 1,024 at 100,000, 2,048 at a million."""
    nlist = 2 ** round(math.log2((3.2 if count < HNSW_UP_TO else 2) * math.sqrt(count)))
    values = tuple(value for value in NPROBE if value < nlist)
    return Kind(f"IVF{nlist},{codes}", lambda source, report: _make_ivf(nlist, codes, source, report), "nprobe", values)


@contextmanager
def all_cores() -> Iterator[None]:
    """Searches set their thread to one core."""
    faiss.omp_set_num_threads(CORES)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(1)


def _factory(source: Source, name: str) -> Any:
    return faiss.index_factory(source.dimension, name, faiss.METRIC_INNER_PRODUCT)


def _add(index: Any, source: Source, report: Report) -> None:
    for first, vectors in slices(source):
        index.add(vectors)
        report((first + len(vectors)) / len(source.ids))


def _make_flat(source: Source, report: Report) -> Any:
    index = _factory(source, FLAT)
    with all_cores():
        _add(index, source, report)
    return index


def _make_hnsw(source: Source, report: Report) -> Any:
    index = _factory(source, HNSW)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    with all_cores():
        index.train(_sample(source, TRAINED_ON_PER_LIST * 1024))
        _add(index, source, report)
    return index


def _make_ivf(nlist: int, codes: str, source: Source, report: Report) -> Any:
    index = _factory(source, f"IVF{nlist},{codes}")
    index.cp.niter = 10
    index.cp.seed = SEED
    with all_cores():
        index.train(_sample(source, TRAINED_ON_PER_LIST * nlist))
        report(0.3)
        lists = _assign(index, source, lambda done: report(0.3 + 0.4 * done))
        _reserve(index, lists)
        for first, vectors in slices(source):
            _append(index, vectors, lists[first : first + len(vectors)], first)
            report(0.7 + 0.3 * (first + len(vectors)) / len(source.ids))
    return index


def _sample(source: Source, most: int) -> Matrix:
    rows = np.random.default_rng(SEED).choice(len(source.ids), min(most, len(source.ids)), replace=False)
    return np.asarray(source.vectors[np.sort(rows)], dtype=np.float32)


def _assign(index: Any, source: Source, report: Report) -> Ids:
    """The list of each vector."""
    lists: Ids = np.empty(len(source.ids), dtype=np.int64)
    for first, vectors in slices(source):
        lists[first : first + len(vectors)] = index.quantizer.assign(vectors, 1)[:, 0]
        report((first + len(vectors)) / len(source.ids))
    return lists


def _reserve(index: Any, lists: Ids) -> None:
    """Give each list the memory that it needs: lists that grow by doubling would need half as much again."""
    inverted = faiss.downcast_InvertedLists(index.invlists)
    for number, size in enumerate(np.bincount(lists, minlength=index.nlist).tolist()):
        inverted.resize(number, size)
        inverted.resize(number, 0)


def _append(index: Any, vectors: Matrix, lists: Ids, first: int) -> None:
    vectors = np.ascontiguousarray(vectors)
    rows = np.arange(first, first + len(vectors), dtype=np.int64)
    lists = np.ascontiguousarray(lists)
    index.add_core(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(rows), faiss.swig_ptr(lists))
