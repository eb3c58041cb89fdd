"""Snapshots show what is committed: beside an index, in its place, and after it has gone."""

import gc
import shutil
import threading
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction

from embeddings.engines.base import IndexDamaged
from embeddings.models import Chunk, Collection, IndexVersion
from embeddings.services import documents, store
from embeddings.serving import delta, reader
from embeddings.serving.delta import Beside, Growing
from embeddings.serving.snapshot import Snapshot
from embeddings.tests.factories import clustered, fill, make_collection, make_model
from embeddings.tests.searching_helpers import damage
from embeddings.vectors import Ids

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def collection() -> Collection:
    return make_collection(model=make_model(), recall_target=0.5, fast_encoder="")


def now(collection: Collection) -> Snapshot:
    """The snapshot after all that is committed by now."""
    for follower in reader._followers.values():
        follower.looked_at = float("-inf")
    return reader.snapshot(collection.pk)


def ids_in(snapshot: Snapshot) -> set[int]:
    """All chunks that a snapshot finds."""
    assert snapshot.main is not None
    query = clustered(1, snapshot.main.model.dimension, seed=9)[0]
    return set(snapshot.main.nearest(query, 10_000)[0].tolist())


def swapped(collection: Collection) -> IndexVersion:
    from embeddings.tests.searching_helpers import swapped

    swapped(collection)
    assert collection.active_version is not None
    return collection.active_version


def keys(chunks: list[Chunk]) -> set[int]:
    return {chunk.pk for chunk in chunks}


def test_without_an_index_all_vectors_lie_beside(collection: Collection) -> None:
    chunks = fill(collection, 30)

    snapshot = now(collection)

    assert snapshot.main.version is None
    assert ids_in(snapshot) == keys(chunks)


def test_new_and_deleted_chunks_show_beside_an_index(collection: Collection) -> None:
    chunks = fill(collection, 30)
    version = swapped(collection)
    first = now(collection)
    more = fill(collection, 5, seed=2)
    documents.delete(None, collection, [chunks[0].document.external_id, more[0].document.external_id])

    second = now(collection)

    assert ids_in(first) == keys(chunks)
    assert ids_in(second) == keys(chunks[1:] + more[1:])
    assert (second.main.version, len(second.main.beside), second.main.tombstones.tolist()) == (
        version,
        4,
        [chunks[0].pk],
    )


def test_what_was_added_to_the_delta_and_deleted_later_is_found_no_more(collection: Collection) -> None:
    fill(collection, 3)
    swapped(collection)
    more = fill(collection, 3, seed=2)
    before = now(collection)
    documents.delete(None, collection, [more[1].document.external_id])

    after = now(collection)

    assert keys(more) <= ids_in(before)
    assert more[1].pk not in ids_in(after)
    assert keys([more[0], more[2]]) <= ids_in(after)


def test_a_transaction_that_commits_late_is_not_missed(collection: Collection) -> None:
    """Its changes have lower ids than those that were read before it committed."""
    fill(collection, 3)
    swapped(collection)
    now(collection)
    wrote, may_commit = threading.Event(), threading.Event()
    late: list[Chunk] = []

    def write() -> None:
        try:
            with transaction.atomic():
                late.extend(fill(collection, 1, seed=5))
                wrote.set()
                assert may_commit.wait(60)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert wrote.wait(60)
    early = fill(collection, 1, seed=6)
    meanwhile = now(collection)
    may_commit.set()
    writer.join(60)

    assert keys(early) <= ids_in(meanwhile)
    assert not keys(late) & ids_in(meanwhile)
    assert keys(early + late) <= ids_in(now(collection))


def test_a_delete_that_is_rolled_back_leaves_the_chunk_to_be_found(collection: Collection) -> None:
    chunks = fill(collection, 5)
    swapped(collection)
    now(collection)

    with transaction.atomic():
        documents.delete(None, collection, [chunks[0].document.external_id])
        now(collection)
        transaction.set_rollback(True)

    assert chunks[0].pk in ids_in(now(collection))


def test_a_swap_leaves_a_search_with_what_it_took_and_closes_that_after(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embeddings.engines.faiss_searcher import FaissSearcher

    closed: list[int] = []
    really = FaissSearcher.close
    monkeypatch.setattr(FaissSearcher, "close", lambda self: (closed.append(self.count), really(self))[1])
    chunks = fill(collection, 10)
    swapped(collection)
    taken = now(collection)
    gc.collect()  # what other tests have left is not closed in the middle of this one
    fill(collection, 5, seed=2)
    swapped(collection)
    closed.clear()

    newer = now(collection)

    assert newer.main.version.number == 2
    assert (len(newer.main.beside), len(taken.main.beside)) == (0, 0)
    assert ids_in(taken) == keys(chunks)
    assert closed == []
    del taken
    assert closed == [10]


def test_a_new_model_comes_with_its_own_index(collection: Collection) -> None:
    """At no moment is there an index of one model, and another to embed queries by."""
    fill(collection, 10)
    swapped(collection)
    old = now(collection)
    other = make_model(dimension=24)
    chunks = fill(collection, 10, model=other, seed=3)
    Collection.objects.filter(pk=collection.pk).update(model=other)
    halfway = now(collection)
    collection.refresh_from_db()
    swapped(collection)

    new = now(collection)

    assert old.main.model == halfway.main.model != other
    assert (new.main.model, new.main.version.model) == (other, other)
    assert ids_in(new) == keys(chunks)


def test_a_version_that_is_damaged_leaves_the_old_one_serving(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chunks = fill(collection, 20)
    first = swapped(collection)
    now(collection)
    more = fill(collection, 5, seed=2)
    second = swapped(collection)
    file = next(store.local_folder(second).glob("*.faiss"))
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(whole[: len(whole) // 2])

    for _ in range(3):
        snapshot = now(collection)

    assert snapshot.main.version == first
    assert "index version 2 cannot be opened" in snapshot.warning
    assert ids_in(snapshot) == keys(chunks + more), "what is new lies beside the old one"
    assert len([one for one in caplog.records if "cannot be opened" in one.message]) == 1

    file.write_bytes(whole)
    monkeypatch.setattr(reader, "FIRST_BACKOFF_SECONDS", 0)
    reader._followers[collection.pk]._main._retry_at = 0
    mended = now(collection)
    assert (mended.main.version, mended.warning) == (second, "")


@pytest.mark.long
def test_a_process_that_starts_with_a_damaged_index_serves_an_older_one(collection: Collection) -> None:
    fill(collection, 20)
    first = swapped(collection)
    fill(collection, 5, seed=2)
    shutil.rmtree(store.local_folder(swapped(collection)))

    older = now(collection)

    assert older.main.version == first
    assert older.warning
    assert len(ids_in(older)) == 25

    shutil.rmtree(store.local_folder(first))
    reader.forget()
    none = now(collection)
    assert none.main.version is None
    assert len(ids_in(none)) == 25


def test_a_watermark_of_another_server_hides_nothing(collection: Collection) -> None:
    """As after a restore of a dump: transactions are counted anew."""
    fill(collection, 5)
    version = swapped(collection)
    IndexVersion.objects.filter(pk=version.pk).update(watermark=2**50 + 1)
    more = fill(collection, 2, seed=2)

    snapshot = now(collection)

    assert snapshot.main.version == version
    assert keys(more) <= ids_in(snapshot)


def test_so_much_lies_beside_at_most(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "MOST_BESIDE", 10)
    chunks = fill(collection, 15)

    without_index = now(collection)
    assert without_index.main.is_partial
    assert ids_in(without_index) == keys(chunks[5:]), "the newest"

    swapped(collection)
    fill(collection, 8, seed=2)
    assert not now(collection).main.is_partial
    fill(collection, 8, seed=3)
    snapshot = now(collection)
    assert snapshot.main.is_partial
    assert len(ids_in(snapshot)) == 25


@pytest.mark.long
def test_deleted_rows_make_room_beside(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(collection, 3)
    swapped(collection)
    now(collection)
    old = fill(collection, 1_200, seed=2)
    now(collection)
    documents.delete(None, collection, [chunk.document.external_id for chunk in old[:700]])

    snapshot = now(collection)

    assert len(snapshot.main.beside.ids) == len(snapshot.main.beside) == 500
    assert len(ids_in(snapshot)) == 503


def test_chunks_that_the_fast_tier_alone_has_are_waiting(collection: Collection) -> None:
    fast = make_model(dimension=8)
    Collection.objects.filter(pk=collection.pk).update(fast_model=fast)
    collection.refresh_from_db()
    both = fill(collection, 6)
    _also(fast, both)
    swapped(collection)
    assert Collection.objects.get(pk=collection.pk).fast_version is not None
    alone = fill(collection, 4, model=fast, seed=3)

    snapshot = now(collection)
    assert snapshot.waiting.tolist() == sorted(keys(alone))

    _also(collection.model, alone[:3])
    documents.delete(None, collection, [alone[3].document.external_id])
    assert now(collection).waiting.tolist() == []


def _also(model: Any, chunks: list[Chunk]) -> None:
    from embeddings.services.storing import store_vectors

    store_vectors(model, [bytes(chunk.content_sha) for chunk in chunks], clustered(len(chunks), model.dimension, 4))


def test_tombstones_do_not_crowd_out_what_is_there(collection: Collection) -> None:
    chunks = fill(collection, 400)
    swapped(collection)
    snapshot = now(collection)
    query = clustered(1, 16, seed=7)[0]
    nearest = snapshot.main.nearest(query, 300)[0].tolist()
    gone = [chunk.document.external_id for chunk in chunks if chunk.pk in nearest[:250]]
    documents.delete(None, collection, gone)

    left = now(collection).main.nearest(query, 10)[0].tolist()

    assert left == nearest[250:260]


def test_an_engine_that_finds_its_index_damaged_says_so(collection: Collection) -> None:
    class Broken:
        count = 3

        def ids(self) -> Ids:
            return np.arange(3)

        def search(self, *_: Any) -> Any:
            raise IndexDamaged("gone")

        def close(self) -> None: ...

    from embeddings.serving.snapshot import Opened, Tier

    assert collection.model is not None
    tier = Tier(collection.model, None, Opened(Broken()), Beside(np.arange(0), clustered(0)), np.arange(0))
    with pytest.raises(IndexDamaged):
        tier.nearest(clustered(1)[0], 1)


def test_an_index_that_answers_what_is_no_score_is_asked_for_more() -> None:
    class Mad:
        count = 8

        def search(self, queries: Any, k: int, allowed: Any = None) -> Any:
            scores = np.array([[np.inf, np.nan, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]], dtype=np.float32)
            return np.arange(8)[np.newaxis, :k], scores[:, :k]

        def ids(self) -> Ids:
            return np.arange(8)

        def close(self) -> None: ...

    from embeddings.models import EmbeddingModel
    from embeddings.serving.snapshot import Opened, Tier

    tier = Tier(EmbeddingModel(), None, Opened(Mad()), Beside(np.arange(0), clustered(0)), np.arange(0))
    assert tier.nearest(clustered(1)[0], 2)[0].tolist() == [2, 3]


def test_a_damaged_vector_that_is_embedded_again_is_found(collection: Collection) -> None:
    from embeddings.models import Vector

    chunks = fill(collection, 4)
    assert collection.model is not None
    damage(collection.model, "NaN", chunks[1].pk)
    first = now(collection)
    Vector.objects.filter(content_sha=chunks[1].content_sha).delete()
    _also(collection.model, [chunks[1]])

    again = now(collection)

    assert first.main is not None
    assert again.main is not None
    assert (first.main.damaged, again.main.damaged) == (1, 0)
    assert ids_in(first) == keys([chunks[0], *chunks[2:]])
    assert ids_in(again) == keys(chunks)


def test_rows_that_were_read_are_not_written_to_when_more_come() -> None:
    growing = Growing(4)
    growing.add(np.arange(3), clustered(3, 4))
    ids, vectors = growing.rows()
    copies = ids.copy(), vectors.copy()

    growing.add(np.arange(3, 900), clustered(897, 4, seed=2))

    np.testing.assert_array_equal(ids, copies[0])
    np.testing.assert_array_equal(vectors, copies[1])
    assert len(growing.rows()[0]) == 900


def test_what_lies_beside_is_searched_exactly() -> None:
    vectors = clustered(200, 16)
    ids = np.arange(200)[::-1] * 3
    alive = np.arange(200) % 2 == 0
    allowed = np.sort(ids[50:150])
    query = clustered(1, 16, seed=3)[0]

    found, scores = Beside(ids, vectors, alive).search(query, 10, allowed)

    usable = [row for row in range(50, 150) if alive[row]]
    truth = sorted(usable, key=lambda row: -float(vectors[row] @ query))[:10]
    assert found.tolist() == [ids[row] for row in truth]
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
