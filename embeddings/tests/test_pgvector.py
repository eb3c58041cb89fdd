"""pgvector as an engine: tables in Postgres, built, measured, searched and removed."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection, connections

from embeddings.engines import pgvector, pgvector_store
from embeddings.engines.base import Built, EngineUnavailable, Held, IndexDamaged, Source
from embeddings.models import Collection, Engine, IndexVersion
from embeddings.services import documents, pointer
from embeddings.services.searching import search
from embeddings.serving import reader
from embeddings.tests.searching_helpers import put, searchable, swapped

DIMENSION = 32
NOWHERE = Path("/nonexistent")


def directions(n: int, seed: int = 1) -> np.ndarray:
    """Rows around a few centres, as texts about a few subjects are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, DIMENSION))
    rows = centres[random.integers(0, 20, n)] + 0.4 * random.normal(size=(n, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def source_of(vectors: np.ndarray, first_id: int = 10) -> Source:
    return Source(ids=np.arange(first_id, first_id + 3 * len(vectors), 3), vectors=vectors, dimension=DIMENSION)


def nearest(source: Source, queries: np.ndarray, k: int) -> np.ndarray:
    scores = queries.astype(np.float32) @ source.vectors.astype(np.float32).T
    return source.ids[np.argsort(-scores, axis=1, kind="stable")[:, :k]]


def held_of(source: Source, n: int = 40) -> Held:
    rows = np.linspace(0, len(source.ids) - 1, n).astype(int)
    queries = source.vectors[rows].astype(np.float32)
    found = nearest(source, queries, 12)
    own = source.ids[rows]
    truth = np.array([row[row != mine][:10] for row, mine in zip(found, own, strict=True)])
    return Held(queries=queries, query_ids=own, truth=truth)


def version_of(pk: int, count: int = 0, **parameters: int) -> IndexVersion:
    return IndexVersion(pk=pk, number=1, count=count, parameters=parameters)


def opened(pk: int, source: Source, built: Built) -> pgvector.PgvectorSearcher:
    return pgvector.PgvectorEngine().open(version_of(pk, len(source.ids), **built.parameters), None)


def build(pk: int, source: Source, target: float = 0.95) -> Built:
    return pgvector.PgvectorEngine().build(version_of(pk), source, held_of(source), NOWHERE, target)


@pytest.fixture(scope="module")
def many() -> Source:
    return source_of(directions(3000))


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(pgvector, "EXACT_UP_TO", 500)
    monkeypatch.setattr(pgvector, "FEW_ALLOWED", 50)


@pytest.mark.django_db
def test_a_small_index_is_exact():
    source = source_of(directions(300))

    built = build(1, source)

    assert built.kind == "exact"
    assert built.recall_mean == pytest.approx(1.0, abs=0.02)
    searcher = opened(1, source, built)
    queries = directions(5, seed=2).astype(np.float32)
    ids, scores = searcher.search(queries, 10)
    assert (ids == nearest(source, queries, 10)).mean() > 0.95
    assert (np.diff(scores, axis=1) <= 0).all()
    best = queries[0] @ source.vectors[np.flatnonzero(source.ids == ids[0, 0])[0]].astype(np.float32)
    assert scores[0, 0] == pytest.approx(best, abs=0.01)


@pytest.mark.django_db
def test_a_larger_index_is_hnsw_searched_as_wide_as_the_target_needs(many, small_limits):
    built = build(2, many, target=0.9)

    assert built.kind == "hnsw,halfvec"
    assert built.recall_mean >= 0.9
    assert 0 <= built.recall_p5 <= built.recall_mean
    assert built.parameters["ef_search"] in pgvector.EF_SEARCH
    assert built.bytes > many.vectors.nbytes
    queries = directions(50, seed=3).astype(np.float32)
    found, _ = opened(2, many, built).search(queries, 10)
    right = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, nearest(many, queries, 10), strict=True)])
    assert right >= 0.85


@pytest.mark.django_db
def test_an_index_that_misses_its_target_gives_way_to_exact_search(many, small_limits, monkeypatch):
    monkeypatch.setattr(pgvector, "EF_SEARCH", (1,))
    monkeypatch.setattr(pgvector_store, "HNSW", {"m": 2, "ef_construction": 4})

    built = build(3, many, target=0.999)

    assert built.kind == "exact"
    assert [one["kind"] for one in built.tried] == ["hnsw,halfvec", "exact"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename = %s", [pgvector_store.table_of(3)])
        assert cursor.fetchone()[0] == 1


@pytest.mark.django_db
def test_the_ids_come_back_ascending():
    source = source_of(directions(200))
    ids = opened(4, source, build(4, source)).ids()

    assert ids.dtype == np.int64
    assert (ids == source.ids).all()


@pytest.mark.long
@pytest.mark.django_db
def test_only_allowed_ids_are_answered_whether_few_or_many(many, small_limits):
    searcher = opened(5, many, build(5, many))
    queries = directions(4, seed=4).astype(np.float32)
    for step in (300, 2):
        allowed = many.ids[::step]
        part = Source(ids=allowed, vectors=many.vectors[::step], dimension=DIMENSION)
        ids, _ = searcher.search(queries, 10, allowed=allowed)
        assert np.isin(ids[ids >= 0], allowed).all()
        assert (ids >= 0).sum() == 4 * min(10, len(allowed))
        right = [len(np.intersect1d(a, b)) for a, b in zip(ids, nearest(part, queries, 10), strict=True)]
        assert np.mean(right) >= 0.8 * min(10, len(allowed))


@pytest.mark.django_db
def test_where_there_are_fewer_than_asked_the_rest_is_minus_one(many, small_limits):
    searcher = opened(6, many, build(6, many))
    query = directions(1, seed=5).astype(np.float32)

    ids, _ = searcher.search(query, 8, allowed=many.ids[:3])
    assert (ids[0] >= 0).tolist() == [True] * 3 + [False] * 5
    ids, _ = searcher.search(query, 8, allowed=many.ids[:0])
    assert (ids == -1).all()
    ids, _ = searcher.search(query, 1500)
    assert len(set(ids[0].tolist())) == 1500
    assert (ids >= 0).all()


@pytest.mark.django_db
def test_the_digest_depends_on_ids_and_vectors_alone():
    vectors = directions(100)
    first = build(7, source_of(vectors))
    again = build(8, source_of(vectors))
    other_ids = build(9, source_of(vectors, first_id=11))
    changed = vectors.copy()
    changed[50, 3] += np.float16(0.25)

    assert first.digest == again.digest
    assert len({first.digest, other_ids.digest, build(10, source_of(changed)).digest}) == 3


@pytest.mark.django_db
def test_an_empty_index_answers_nothing():
    source = source_of(directions(0).reshape(0, DIMENSION))
    held = Held(np.zeros((0, DIMENSION), np.float32), np.zeros(0, np.int64), np.zeros((0, 10), np.int64))
    built = pgvector.PgvectorEngine().build(version_of(11), source, held, NOWHERE, 0.95)

    searcher = opened(11, source, built)
    assert len(searcher.ids()) == 0
    assert (searcher.search(directions(1).astype(np.float32), 5)[0] == -1).all()


@pytest.mark.django_db
def test_a_table_that_is_gone_or_has_lost_rows_is_damaged():
    source = source_of(directions(100))
    built = build(12, source)
    searcher = opened(12, source, built)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM embeddings_pgindex_12 WHERE chunk_id = 10")
    with pytest.raises(IndexDamaged, match="embeddings_pgindex_12 holds 99 vectors instead of 100"):
        opened(12, source, built)

    pgvector.PgvectorEngine().remove(version_of(12))
    pgvector.PgvectorEngine().remove(version_of(12))

    assert 12 not in pgvector_store.tables()
    with pytest.raises(IndexDamaged, match="embeddings_pgindex_12 is gone"):
        searcher.search(directions(1).astype(np.float32), 5)


@pytest.mark.django_db
def test_a_build_that_fails_leaves_no_table(monkeypatch):
    monkeypatch.setattr(pgvector, "_choose", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(13, source_of(directions(50)))

    assert 13 not in pgvector_store.tables()


@pytest.mark.django_db
def test_a_build_that_is_cancelled_stops_the_servers_work_and_leaves_no_table(many, small_limits, monkeypatch):
    from jobs.ledger.errors import JobCancelled

    def cancelled(pid: int) -> None:
        raise JobCancelled("enough")

    monkeypatch.setattr(pgvector_store, "HNSW", {"m": 100, "ef_construction": 1000})  # so that it would take long
    monkeypatch.setattr(pgvector_store, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(pgvector_store, "_report", cancelled)
    with pytest.raises(JobCancelled):
        build(14, many)

    assert 14 not in pgvector_store.tables()


@pytest.mark.long
@pytest.mark.django_db
def test_without_shared_memory_one_process_builds_it(many, small_limits, monkeypatch):
    from psycopg import errors

    real, seen = pgvector_store._watched, []

    def watched(statement):
        with connection.cursor() as cursor:
            cursor.execute("SHOW max_parallel_maintenance_workers")
            seen.append(cursor.fetchone()[0])
        if len(seen) == 1:
            raise errors.DiskFull("could not resize shared memory segment")
        real(statement)

    monkeypatch.setattr(pgvector_store, "_watched", watched)

    assert build(15, many).kind == "hnsw,halfvec"
    assert seen == ["3", "0"]


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_role_that_may_not_make_the_extension_is_told_what_to_do():
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION IF EXISTS vector CASCADE")
        cursor.execute("CREATE ROLE h_nobody; SET ROLE h_nobody")
        try:
            with pytest.raises(EngineUnavailable, match=r"role h_nobody may not .* run CREATE EXTENSION vector"):
                pgvector_store.require_extension()
        finally:
            cursor.execute("RESET ROLE; DROP ROLE h_nobody")


@pytest.mark.django_db
def test_a_server_without_pgvector_or_with_an_old_one_is_told_what_to_do(monkeypatch):
    class Cursor:
        def __init__(self, answers):
            self.answers = answers

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def execute(self, *_):
            return None

        def fetchone(self):
            return self.answers.pop(0)

    monkeypatch.setattr(pgvector_store, "connection", type("C", (), {"cursor": lambda _: Cursor([None, None])})())
    with pytest.raises(EngineUnavailable, match="has no pgvector; install it there"):
        pgvector_store.require_extension()
    monkeypatch.setattr(pgvector_store, "connection", type("C", (), {"cursor": lambda _: Cursor([("0.7.4",)])})())
    with pytest.raises(EngineUnavailable, match=r"pgvector 0\.7\.4 is too old"):
        pgvector_store.require_extension()


# --- behind a collection ---

SUBJECTS = ("bees", "bridges", "clocks", "paper", "rivers", "stars")


@pytest.fixture
def collection(transactional_db) -> Collection:
    texts = {f"d{n}": f"{SUBJECTS[n % 6]} in the year {1800 + n}" for n in range(60)}
    return searchable(texts, engine=Engine.PGVECTOR)


def found(collection: Collection, query: str, **options) -> list[str]:
    return [hit.id for hit in search(None, query, collection=collection.name, mode="vector", **options).hits]


def test_a_collection_is_searched_through_its_table(collection):
    assert swapped(collection) == 1
    answer: Any = search(None, "bees in the year 1806", collection=collection.name, mode="vector")
    assert (answer.hits[0].id, answer.hits[0].tier) == ("d6", "main")
    assert (answer.index["version"], answer.index["kind"], answer.beside["delta"]) == (1, "exact", 0)
    version = collection.active_version
    assert (version.engine, version.count, version.manifest["files"]) == (Engine.PGVECTOR, 60, {})
    assert version.bytes > 0

    put(collection, [{"id": "new", "text": "lighthouses in the year 1999", "metadata": {"shelf": 7}}])
    documents.delete(None, collection, ["d6"])
    reader.forget()
    assert found(collection, "lighthouses in the year 1999")[0] == "new"
    assert "d6" not in found(collection, "bees in the year 1806", k=100)
    assert found(collection, "bees", filters={"shelf": 7}) == ["new"]


@pytest.mark.long
def test_going_back_to_an_older_table_finds_what_came_since_all_the_same(collection):
    swapped(collection)
    put(collection, [{"id": "new", "text": "lighthouses in the year 1999"}])
    assert swapped(collection) == 2

    pointer.activate(None, collection.versions.get(number=1), "back")

    reader.forget()
    answer: Any = search(None, "lighthouses in the year 1999", collection=collection.name, mode="vector")
    assert (answer.hits[0].id, answer.index["version"], answer.beside["delta"]) == ("new", 1, 1)


@pytest.mark.long
def test_searches_in_many_threads_go_on_through_swaps(collection, until):
    swapped(collection)
    failed: list[str] = []
    asked: list[int] = []
    stop = threading.Event()

    def ask(n: int) -> None:
        try:
            while not stop.is_set():
                wanted = f"d{n}"
                if found(collection, f"{SUBJECTS[n % 6]} in the year {1800 + n}", k=3)[0] != wanted:
                    failed.append(wanted)
                asked.append(n)
        except Exception as exc:
            failed.append(repr(exc))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask, args=(n,)) for n in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(2, 6):
            put(collection, [{"id": f"new{number}", "text": f"lighthouses {number}"}])
            assert swapped(collection) == number
            reader.refresh([collection.pk])
            before = len(asked)
            until(lambda before=before: failed or len(asked) > before + 8)
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert not failed
