"""What a new index must show; every reason to refuse it is a sentence with its figures."""

import numpy as np
import pytest

from embeddings.engines.base import Built, Source
from embeddings.models import Collection, IndexVersion
from embeddings.services import gate, held_queries
from embeddings.tests.factories import clustered

DIGEST = "a" * 64


class Answers:
    """A searcher that is right for all but some queries."""

    def __init__(self, source: Source, wrong: int = 0, ids: np.ndarray | None = None) -> None:
        self._source = source
        self._vectors = source.vectors.astype(np.float32)
        self._wrong = wrong
        self._ids = source.ids if ids is None else ids
        self.count = len(self._ids)

    def close(self) -> None:
        """There is nothing to close."""

    def ids(self) -> np.ndarray:
        return self._ids

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        self._wrong -= 1
        scores = queries @ self._vectors.T * (-1 if self._wrong >= 0 else 1)
        order = np.argsort(-scores, axis=1)[:, :k]
        return self._source.ids[order], np.take_along_axis(scores, order, axis=1)


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(np.arange(1, 201), clustered(200).astype(np.float16), 16)


def against(
    source: Source, answers: Answers, active: float | None = None, digest: str = DIGEST, **settings: float
) -> str:
    collection = Collection(name="c", **{"recall_target": 0.9, "recall_floor": 0.5, **settings})
    files = {"index.faiss": {"bytes": 1, "sha256": digest}}
    version = IndexVersion(number=2, collection=collection, manifest={"files": files})
    built = Built("SQfp16", {}, 1, DIGEST, 1.0, 1.0)
    held = held_queries.hold(source, source.ids[:100])
    before = None if active is None else IndexVersion(number=1, recall_mean=active)
    return "; ".join(gate.reasons_against(version, built, answers, source, held, before))


def test_a_good_index_passes(source: Source) -> None:
    assert against(source, Answers(source), active=1.0) == ""


def test_a_mean_below_the_target_is_refused(source: Source) -> None:
    assert against(source, Answers(source, wrong=20), recall_floor=0).startswith(
        "its recall@10 is 0.800, and the collection asks for 0.9"
    )


def test_a_few_bad_queries_are_refused_though_the_mean_is_good(source: Source) -> None:
    assert against(source, Answers(source, wrong=8)).startswith(
        "the recall@10 of its worst twentieth of queries is 0.000"
    )


def test_much_less_than_what_is_in_use_is_refused(source: Source) -> None:
    assert "more than 0.05 below the 1.000 of version 1" in against(
        source, Answers(source, wrong=8), active=1.0, recall_target=0.5, recall_floor=0
    )
    assert against(source, Answers(source, wrong=4), active=1.0, recall_target=0.5, recall_floor=0) == ""


def test_another_number_of_vectors_is_refused(source: Source) -> None:
    assert "it holds 199 vectors of 200" in against(source, Answers(source, ids=source.ids[1:]))


def test_other_ids_are_refused(source: Source) -> None:
    assert "the ids in it are not those" in against(source, Answers(source, ids=source.ids + 1))


def test_what_the_disk_altered_is_refused(source: Source) -> None:
    assert "not what was written" in against(source, Answers(source), digest="b" * 64)


def test_a_build_aims_at_the_target_and_at_what_is_in_use() -> None:
    assert gate.least_recall(0.9, None) == 0.9
    assert gate.least_recall(0.9, IndexVersion(recall_mean=1.0)) == pytest.approx(0.95)
    assert gate.least_recall(0.9, IndexVersion(recall_mean=None)) == 0.9
