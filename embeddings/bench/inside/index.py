"""Indexes over many vectors: built, and asked one query a call."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from embeddings.bench.inside.encoding import prepare
from embeddings.bench.texts import SHORT, texts
from embeddings.encoders import load
from embeddings.engines.base import Source
from embeddings.models import Collection, EmbeddingModel, Engine, IndexVersion
from embeddings.vectors import STORED, Ids, Matrix, unit

DIMENSION, CLUSTERS, SLICE, K = 384, 2_000, 20_000, 10
#: Scores so close are the same: of equal texts, any answer is right.
SAME = 1e-5
QUERIES, HELD = 400, 200

Answers = Callable[[Matrix], Ids]


def synthetic(folder: str, count: int) -> None:
    """Vectors in 2,000 clusters whose sizes follow Zipf's law: harder to index than texts are."""
    rng = np.random.default_rng(11)
    centres = unit(rng.standard_normal((CLUSTERS, DIMENSION), dtype=np.float32))
    shares = 1 / np.arange(1, CLUSTERS + 1)
    shares /= shares.sum()

    def rows(size: int) -> Matrix:
        noise = rng.standard_normal((size, DIMENSION), dtype=np.float32) / np.sqrt(DIMENSION)
        return unit(centres[rng.choice(CLUSTERS, size, p=shares)] + noise.astype(np.float32))

    _write(folder, count, (rows(min(SLICE, count - first)) for first in range(0, count, SLICE)), rows(QUERIES))


def real(folder: str, count: int, spec: str) -> None:
    """What an encoder makes of short texts; the queries are of other texts."""
    some = texts(SHORT, count + QUERIES)
    prepare(spec, {}, 0, 1)
    encoder = load(spec)
    queries = encoder.encode(some[count:]).vectors
    some = some[:count]
    slices = (encoder.encode(some[first : first + SLICE]).vectors for first in range(0, count, SLICE))
    _write(folder, count, slices, queries)


def _write(folder: str, count: int, slices: Iterator[Matrix], queries: Matrix) -> None:
    path = Path(folder)
    path.mkdir()
    np.save(path / "queries.npy", queries)
    vectors: Any = None
    first = 0
    for rows in slices:
        if vectors is None:
            shape = (count, rows.shape[1])
            vectors = np.lib.format.open_memmap(path / "vectors.npy", mode="w+", dtype=STORED, shape=shape)
        vectors[first : first + len(rows)] = rows
        first += len(rows)
    vectors.flush()


def build(folder: str, engine: str, target: float) -> dict[str, Any]:
    """Build an index as a job would. Returns kind, seconds, MB of files or table, and of memory at the most."""
    from embeddings.engines import engine as engine_of
    from embeddings.services.held_queries import hold

    source = _source(folder)
    chosen = np.random.default_rng(5).choice(len(source.ids), min(HELD, len(source.ids)), replace=False)
    version = _version(source.dimension, engine)
    with _memory() as memory:
        began = time.monotonic()
        held = hold(source, np.sort(source.ids[chosen]))
        built = engine_of(engine).build(version, source, held, Path(folder), target)
        seconds = time.monotonic() - began
    (Path(folder) / f"{engine}.json").write_text(json.dumps(built.parameters))
    return {
        "kind": built.kind,
        "parameters": built.parameters,
        "seconds": seconds,
        "mb": built.bytes / 1e6,
        "memory_mb": max(memory) - memory[0],
    }


def ask(folder: str, engine: str, seconds: float) -> dict[str, float]:
    """Ask one query a call, for so many seconds and at least all once. Returns recall@10 and queries a second."""
    path = Path(folder)
    parameters = json.loads((path / f"{engine}.json").read_text())
    queries: Matrix = np.load(path / "queries.npy", allow_pickle=False)
    answers = (_faiss if engine == Engine.FAISS else _pgvector)(path, parameters)
    found = np.vstack([answers(query[None, :]) for query in queries])
    asked, began = 0, time.perf_counter()
    while asked < len(queries) or time.perf_counter() - began < seconds:
        answers(queries[asked % len(queries)][None, :])
        asked += 1
    rate = asked / (time.perf_counter() - began)
    return {"recall": float(_recalls(_source(folder), queries, found).mean()), "queries_per_s": rate}


def _faiss(path: Path, parameters: dict[str, Any]) -> Answers:
    import faiss

    from embeddings.engines.faiss_searcher import FaissSearcher

    index = faiss.read_index(str(path / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
    searcher = FaissSearcher(index, np.load(path / "ids.npy", mmap_mode="r", allow_pickle=False), parameters)
    return lambda queries: searcher.search(queries, K)[0]


def _pgvector(path: Path, parameters: dict[str, Any]) -> Answers:
    """A prepared statement on one connection, with nothing around it: faster than pgvector behind our own interface."""
    from pgvector import HalfVector

    from embeddings.engines.pgvector_store import table_of

    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('hnsw.ef_search', %s, false)", [str(parameters.get("ef_search", 40))])
    assert connection.connection is not None
    table = table_of(VERSION)
    statement = f"SELECT chunk_id FROM {table} ORDER BY vector <#> %s::halfvec LIMIT {K}"  # noqa: S608

    def ask_one(queries: Matrix) -> Ids:
        text = HalfVector(queries[0]).to_text()
        rows = connection.connection.execute(statement, [text], prepare=True).fetchall()
        return np.array([[row[0] for row in rows] + [-1] * (K - len(rows))], dtype=np.int64)

    return ask_one


def _recalls(source: Source, queries: Matrix, found: Ids) -> NDArray[np.float64]:
    """Recall@10 of each query; an answer as near as the tenth of the truth is right."""
    best: Matrix = np.full((len(queries), K), -np.inf, dtype=np.float32)
    for first in range(0, len(source.ids), SLICE):
        scores = queries @ np.asarray(source.vectors[first : first + SLICE], dtype=np.float32).T
        best = -np.partition(-np.hstack([best, scores]), K - 1, axis=1)[:, :K]
    rows = np.searchsorted(source.ids, np.maximum(found, source.ids[0]))
    scores = np.einsum("qd,qnd->qn", queries, np.asarray(source.vectors[rows], dtype=np.float32))
    right = (found >= 0) & (scores >= best.min(axis=1)[:, None] - SAME)
    return np.asarray(right.sum(axis=1) / K)


#: No row of it is needed: only its number, for the names of tables.
VERSION = 1


def _version(dimension: int, engine: str) -> IndexVersion:
    model = EmbeddingModel(pk=VERSION, spec="bench", digest="index", dimension=dimension)
    collection = Collection(pk=VERSION, name="bench", recall_floor=0)
    return IndexVersion(pk=VERSION, number=1, model=model, collection=collection, engine=engine)


def _source(folder: str) -> Source:
    vectors = np.load(Path(folder) / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return Source(np.arange(1, len(vectors) + 1, dtype=np.int64), vectors, vectors.shape[1])


@contextmanager
def _memory() -> Iterator[list[float]]:
    """What this process holds for itself, in MB, again and again; pages of mapped files do not count."""
    held = [_anonymous_mb()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            held.append(_anonymous_mb())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield held
    finally:
        done.set()
        watcher.join()


def _anonymous_mb() -> float:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024 / 1e6
