"""FAISS as an engine: the kind is chosen by what is measured, and what is opened answers right or says why not."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embeddings.engines import faiss_engine, faiss_kinds
from embeddings.engines.base import Built, Held, IndexDamaged, Searcher, Source
from embeddings.engines.faiss_engine import FaissEngine
from embeddings.models import Collection, IndexVersion
from embeddings.services import held_queries, manifest
from embeddings.tests.factories import clustered

DIMENSION = 32


def source_of(vectors: np.ndarray) -> Source:
    """Ids are not row numbers: 10, 13, 16 …"""
    return Source(np.arange(10, 10 + 3 * len(vectors), 3), vectors.astype(np.float16), DIMENSION)


def held_of(source: Source, n: int = 50) -> Held:
    return held_queries.hold(source, source.ids[:: max(1, len(source.ids) // n)])


def a_version() -> IndexVersion:
    return IndexVersion(number=1, collection=Collection(name="c", recall_floor=0.5), manifest={"folder": "c-1"})


def build(source: Source, folder: Path, target: float = 0.95) -> tuple[IndexVersion, Built]:
    version = a_version()
    folder.mkdir(exist_ok=True)
    built = FaissEngine().build(version, source, held_of(source), folder, target)
    version.parameters = built.parameters
    version.manifest["files"] = manifest.files_of(folder)
    return version, built


def opened(source: Source, folder: Path, target: float = 0.95) -> Searcher:
    version, _ = build(source, folder, target)
    return FaissEngine().open(version, folder)


def exactly(source: Source, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    scores = queries @ source.vectors.astype(np.float32).T
    if allowed is not None:
        scores[:, ~np.isin(source.ids, allowed)] = -9
    return source.ids[np.argsort(-scores, axis=1)[:, :k]]


@pytest.fixture(scope="module")
def many() -> Source:
    return source_of(clustered(3000, DIMENSION))


@pytest.fixture
def no_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_kinds, "FLAT_UP_TO", 100)


def test_a_small_index_is_exact(many: Source, tmp_path: Path) -> None:
    searcher = opened(many, tmp_path / "i")
    queries = clustered(40, DIMENSION, seed=7)

    ids, scores = searcher.search(queries, 5)

    assert ids.tolist() == exactly(many, queries, 5).tolist()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert searcher.count == 3000
    assert searcher.ids().tolist() == many.ids.tolist()


def test_of_a_larger_one_the_fastest_kind_that_reaches_the_recall_is_taken(
    many: Source, tmp_path: Path, no_flat: None
) -> None:
    _, built = build(many, tmp_path / "i")

    kinds = {one["kind"]: one for one in built.tried}
    assert list(kinds) == ["HNSW16_SQ8", "IVF128,SQ8"]
    good = [one for one in built.tried if one["reaches_target"]]
    assert built.kind == max(good, key=lambda one: one["queries_per_s"])["kind"]
    assert built.recall_mean >= 0.95


def test_where_none_is_exact_enough_all_vectors_are_compared(many: Source, tmp_path: Path, no_flat: None) -> None:
    _, built = build(many, tmp_path / "i", target=1.0)

    assert built.kind == "SQfp16"
    assert built.recall_mean == pytest.approx(1)


@pytest.mark.parametrize("kind", ["SQfp16", "HNSW16_SQ8", "IVF128,SQ8"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.8])
def test_only_allowed_ids_are_answered_and_those_are_the_nearest(
    many: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, share: float
) -> None:
    made = {"SQfp16": faiss_kinds.flat(), "HNSW16_SQ8": faiss_kinds.hnsw()}.get(kind) or faiss_kinds.ivf(3000, "SQ8")
    monkeypatch.setattr(faiss_engine, "kinds", lambda count: [made])
    searcher = opened(many, tmp_path / "i", target=0.9)
    queries = clustered(30, DIMENSION, seed=8)
    chosen = np.random.default_rng(2).choice(many.ids, int(3000 * share), replace=False)
    # Ids that are not in the index are no harm.
    allowed = np.sort(np.append(chosen, [11, 10**12]))

    ids, _ = searcher.search(queries, 10, allowed)

    assert np.isin(ids, chosen).all()
    truth = exactly(many, queries, 10, allowed)
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, truth, strict=True)])
    assert found > 0.85


def test_where_there_are_fewer_the_rest_is_minus_one(tmp_path: Path) -> None:
    searcher = opened(source_of(clustered(3, DIMENSION)), tmp_path / "i")
    queries = clustered(2, DIMENSION, seed=3)

    assert (searcher.search(queries, 5)[0] != -1).sum(axis=1).tolist() == [3, 3]
    assert searcher.search(queries, 5, np.array([13]))[0][0].tolist() == [13, -1, -1, -1, -1]
    assert (searcher.search(queries, 5, np.array([], dtype=np.int64))[0] == -1).all()


def test_an_index_of_nothing_finds_nothing(tmp_path: Path) -> None:
    searcher = opened(source_of(np.empty((0, DIMENSION))), tmp_path / "i")

    assert searcher.count == 0
    assert searcher.search(clustered(2, DIMENSION), 3)[0].tolist() == [[-1] * 3] * 2


def test_queries_of_another_dimension_are_refused(many: Source, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(1, 16\) do not fit an index of 32"):
        opened(many, tmp_path / "i").search(clustered(1, 16), 3)


def test_many_threads_get_what_one_gets(many: Source, tmp_path: Path, no_flat: None) -> None:
    searcher = opened(many, tmp_path / "i")
    queries = clustered(200, DIMENSION, seed=4)
    alone = searcher.search(queries, 10)[0]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda row: searcher.search(queries[row : row + 1], 10)[0][0], range(200)))

    assert np.array(found).tolist() == alone.tolist()


def test_equal_texts_do_not_count_against_the_recall(tmp_path: Path) -> None:
    source = source_of(np.repeat(clustered(20, DIMENSION), 40, axis=0))

    _, built = build(source, tmp_path / "i")

    assert (built.recall_mean, built.recall_p5) == (1, 1)


def test_a_worse_index_has_a_worse_recall(many: Source) -> None:
    """So that the gate has something to go by."""
    held = held_of(many)
    right = held_queries.recalls(lambda queries, k: (exactly(many, queries, k), queries), many, held)
    other = held_queries.recalls(lambda queries, k: (exactly(many, -queries, k), queries), many, held)

    assert right.min() == 1
    assert other.max() == 0


def test_held_queries_are_chunks_and_what_lies_between_and_their_answers_are_exact(many: Source) -> None:
    held = held_of(many)

    scores = held.queries @ many.vectors.astype(np.float32).T
    nearest = scores.max(axis=1)
    assert nearest[0::2].min() > 0.999
    assert np.median(nearest[1::2]) < 0.97
    assert (held.query_ids[1::2] == -1).all()
    expected = [
        [found for found in row if found != own][:10]
        for row, own in zip(exactly(many, held.queries, 11), held.query_ids, strict=True)
    ]
    assert (np.sort(held.truth) == np.sort(expected)).all()


def test_the_recall_is_that_of_the_weaker_kind_of_query() -> None:
    """A graph is weak in what lies between its vectors, lists are in the vectors themselves."""
    assert held_queries.mean(np.array([1.0, 0.5, 1.0, 0.7])) == pytest.approx(0.6)
    assert held_queries.mean(np.array([0.4, 1.0])) == pytest.approx(0.4)
    assert (held_queries.mean(np.array([0.3])), held_queries.mean(np.zeros(0))) == (0.3, 1.0)


@pytest.mark.parametrize("name", ["index.faiss", "ids.npy"])
@pytest.mark.parametrize("what", ["cut", "altered", "gone"])
def test_a_damaged_file_is_named_and_never_mapped(many: Source, tmp_path: Path, name: str, what: str) -> None:
    version, _ = build(many, tmp_path / "i")
    FaissEngine().open(version, tmp_path / "i").close()
    path = tmp_path / "i" / name
    changed_at = path.stat().st_mtime_ns
    if what == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data[: len(data) // 2] if what == "cut" else data)
        # Some systems tell times in steps of 4 ms, and all of this may be within one.
        os.utime(path, ns=(changed_at, changed_at + 10**7))

    with pytest.raises(IndexDamaged, match=name) as caught:
        FaissEngine().open(version, tmp_path / "i")

    assert "rebuild the index" in str(caught.value)


def test_a_folder_that_is_gone_is_named(many: Source, tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged, match="nowhere is gone"):
        FaissEngine().open(a_version(), tmp_path / "nowhere")


def test_a_full_disk_is_an_error_also_for_the_last_block(tmp_path: Path) -> None:
    index = faiss_kinds.flat().make(source_of(clustered(3, DIMENSION)), lambda done: None)

    with pytest.raises(OSError, match="No space left"):
        faiss_engine._write(index, Path("/dev/full"))
