"""A build makes a version of what is embedded, once, and leaves nothing else."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.db.models.functions import Now

from embeddings.engines import engine, faiss_engine
from embeddings.errors import BuildUnderWay, DiskFull, IndexRefused
from embeddings.models import Change, Collection, IndexVersion, Vector, VersionState
from embeddings.services import builds, extracting, folders, held_queries, planning, pointer, store, versions
from embeddings.services import damage as waiting
from embeddings.services.sessions import session
from embeddings.tests.factories import add_chunks, fill, make_collection, make_model
from embeddings.tests.searching_helpers import DAMAGES, damage
from embeddings.vectors import from_bytes
from jobs import Snooze
from jobs.models import Job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def collection(indexes_dir: Path) -> Collection:
    return make_collection(model=make_model())


def built(collection: Collection) -> IndexVersion:
    builds.build(collection.name)
    assert collection.model is not None
    version = versions.newest_ready(collection, collection.model)
    assert version is not None
    return version


def states(collection: Collection) -> list[tuple[int, str]]:
    return list(collection.versions.order_by("number").values_list("number", "state"))


def debris() -> list[str]:
    return [path.name for path in folders.indexes_dir().iterdir() if path.name.startswith(folders.TEMPORARY)]


def ids_in(version: IndexVersion) -> list[int]:
    return engine(version.engine).open(version, store.fetch(version)).ids().tolist()


def test_a_built_version_finds_each_chunk_by_its_own_vector(collection: Collection) -> None:
    chunks = fill(collection, 300)
    add_chunks(collection, ["not embedded yet"])

    version = built(collection)

    vectors = dict(Vector.objects.values_list("content_sha", "vector"))
    queries = from_bytes([vectors[bytes(chunk.content_sha)] for chunk in chunks], 16)
    ids, scores = engine("faiss").open(version, store.fetch(version)).search(queries, 1)
    assert ids[:, 0].tolist() == [chunk.pk for chunk in chunks]
    np.testing.assert_allclose(scores[:, 0], 1, atol=2e-3)
    assert (version.number, version.count) == (1, 300)
    assert version.recall_mean == pytest.approx(1)
    assert debris() == []


def test_where_nothing_has_changed_nothing_is_written(collection: Collection) -> None:
    chunks = fill(collection, 30)
    version = built(collection)

    again = builds.build(collection.name)

    assert [row["state"] for row in again["versions"]] == ["unchanged"]
    assert states(collection) == [(1, "ready")]

    chunks[0].delete()
    fill(collection, 2, seed=2)
    assert len(ids_in(built(collection))) == 31
    assert len(ids_in(version)) == 30
    assert states(collection) == [(1, "ready"), (2, "ready")]


def test_a_version_whose_files_are_gone_is_built_again(collection: Collection) -> None:
    fill(collection, 30)
    assert folders.remove(store.local_folder(built(collection)))

    assert built(collection).number == 2


def test_a_collection_that_asks_for_more_recall_is_built_again(collection: Collection) -> None:
    fill(collection, 30)
    IndexVersion.objects.filter(pk=built(collection).pk).update(recall_mean=0.95)
    assert built(collection).number == 1

    Collection.objects.filter(pk=collection.pk).update(recall_target=0.99)

    assert built(collection).number == 2


def test_each_tier_and_each_model_of_a_migration_has_its_version(collection: Collection) -> None:
    fast, candidate = make_model(8, "fast"), make_model(24, "candidate")
    Collection.objects.filter(pk=collection.pk).update(fast_model=fast, candidate=candidate)
    fill(collection, 10)
    fill(collection, 5, fast)
    fill(collection, 3, candidate)

    rows = builds.build(collection.name)["versions"]

    assert [(row["state"], row["count"]) for row in rows] == [("ready", 10), ("ready", 5), ("ready", 3)]


def test_a_collection_without_vectors_has_no_version(collection: Collection) -> None:
    add_chunks(collection, ["a"])
    assert builds.build(collection.name)["versions"] == [{"state": "empty"}]
    assert builds.build(make_collection().name)["versions"] == []
    assert IndexVersion.objects.count() == 0


def test_when_all_is_deleted_an_empty_version_takes_the_place(collection: Collection) -> None:
    chunks = fill(collection, 3)
    built(collection)
    pointer.swap_to_newest(collection.name)
    for chunk in chunks:
        chunk.document.delete()

    assert ids_in(built(collection)) == []
    assert pointer.swap_to_newest(collection.name)["swapped"] == [2]


def test_what_commits_during_a_build_is_after_its_watermark(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(collection, 20)
    choose, late = faiss_engine.FaissEngine._choose, list[int]()

    def meanwhile(*args: Any) -> Any:
        late.extend(chunk.pk for chunk in fill(collection, 2, seed=5))
        return choose(*args)

    monkeypatch.setattr(faiss_engine.FaissEngine, "_choose", meanwhile)
    version = built(collection)

    after = Change.objects.extra(where=["xid >= %s::text::xid8"], params=[str(version.watermark)])
    assert set(late) <= set(after.values_list("chunk_id", flat=True))
    assert set(late).isdisjoint(ids_in(version))


def test_what_commits_late_is_after_the_watermark_too(collection: Collection) -> None:
    """A transaction that began before the build and commits after it."""
    fill(collection, 5)
    (chunk,) = add_chunks(collection, ["late"])
    with session() as writer:
        writer.execute("BEGIN")
        writer.execute(
            "INSERT INTO embeddings_vector (model_id, content_sha, vector)"
            " SELECT %s, %s, vector FROM embeddings_vector LIMIT 1",
            [collection.model_id, bytes(chunk.content_sha)],
        )
        version = built(collection)
        writer.execute("COMMIT")

    after = Change.objects.extra(where=["xid >= %s::text::xid8"], params=[str(version.watermark)])
    assert chunk.pk in set(after.values_list("chunk_id", flat=True))


def test_a_refused_version_leaves_the_old_one_in_use_and_fails_the_job(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(collection, 40)
    built(collection)
    pointer.swap_to_newest(collection.name)
    fill(collection, 1, seed=3)
    monkeypatch.setattr(held_queries, "recalls", lambda *_: np.zeros(20))
    monkeypatch.setattr("embeddings.services.gate.recalls", lambda *_: np.zeros(20))

    with pytest.raises(
        IndexRefused, match=r"version 2 \(id \d+\) was refused: its recall@10 is 0\.000, and the collection asks"
    ):
        builds.build(collection.name)

    assert states(collection) == [(1, "ready"), (2, "refused")]
    assert list(store.local_folders()) == [store.folder_name(collection.versions.get(number=1))]
    assert debris() == []
    assert pointer.swap_to_newest(collection.name)["kept"] == [1]


def test_one_build_a_collection_at_a_time(collection: Collection) -> None:
    fill(collection, 3)
    with session() as other, builds._alone(other, collection):
        with pytest.raises(BuildUnderWay):
            builds.build_each(collection.name)
        with pytest.raises(Snooze, match="another process builds"):
            builds.build(collection.name)
        assert builds.clear_up(collection) == 0

    assert built(collection).number == 1


def test_the_next_build_may_begin_before_postgres_has_ended_the_session_of_the_one_before(
    collection: Collection,
) -> None:
    with session() as lives_on:
        with builds._alone(lives_on, collection):
            pass

        fill(collection, 3)
        assert built(collection).number == 1


def test_what_a_killed_build_left_is_cleared_by_the_next_one(collection: Collection) -> None:
    fill(collection, 3)
    assert collection.model is not None
    dead = versions.begin(collection, collection.model, {})
    folder, held = folders.make(f"{folders.BUILDING}{store.folder_name(dead)}")
    (folder / "vectors.f16").write_bytes(b"half")
    held.release()

    assert built(collection).number == 2

    dead.refresh_from_db()
    assert (dead.state, dead.reason) == (VersionState.FAILED, builds.ABANDONED)
    assert debris() == []


def test_a_damaged_vector_is_named_and_embedded_again(collection: Collection) -> None:
    chunks = fill(collection, 5)
    with connection.cursor() as cursor:
        cursor.execute(
            r"UPDATE embeddings_vector SET vector = overlay(vector placing '\x007e'::bytea from 5)"
            " WHERE content_sha = %s",
            [bytes(chunks[2].content_sha)],
        )

    with pytest.raises(extracting.BadVectorsStored, match=rf"1 in all: those of chunks {chunks[2].pk};"):
        builds.build(collection.name)

    assert states(collection) == [(1, "failed")]
    assert "BadVectorsStored: stored vectors are damaged" in collection.versions.get().reason
    assert debris() == []
    # It is gone, so the next run embeds its text again; until then the index is of the rest.
    assert Vector.objects.count() == 4
    assert ids_in(built(collection)) == [chunk.pk for chunk in chunks if chunk != chunks[2]]


def test_one_attempt_finds_all_that_is_damaged_and_has_it_embedded_again(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is spread, and of the fast tier too."""
    monkeypatch.setattr(extracting, "SLICE_ROWS", 5)
    fast = make_model(8, "fast")
    Collection.objects.filter(pk=collection.pk).update(fast_model=fast)
    collection.refresh_from_db()
    chunks, quick = fill(collection, 40), fill(collection, 10, fast)
    harmed = [chunk.pk for chunk in chunks[::5]]
    assert collection.model is not None
    for how, chunk_id in zip(DAMAGES, harmed, strict=True):
        damage(collection.model, how, chunk_id)
    damage(fast, "too short", quick[3].pk)

    with pytest.raises(extracting.BadVectorsStored, match=rf"8 in all: those of chunks {', '.join(map(str, harmed))};"):
        builds.build(collection.name)

    assert [(one.model, one.state) for one in collection.versions.order_by("number")] == [
        (collection.model, "failed"),
        (fast, "failed"),
    ]
    assert Vector.objects.count() == 41
    runs = {run.model: run for run in collection.runs.all()}
    assert {model: run.total for model, run in runs.items()} == {collection.model: 18, fast: 1}
    batches = Job.objects.filter(task="embeddings.embed_batch", kwargs__run_id=runs[collection.model].pk)
    assert min(batches.values_list("kwargs__first_id", flat=True)) == harmed[0]
    assert Job.objects.filter(task="embeddings.catch_up", kwargs__collection=collection.name).exists()


def test_vectors_are_removed_only_together_with_what_embeds_them_again(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert collection.model is not None
    damage(collection.model, "NaN", fill(collection, 5)[2].pk)
    monkeypatch.setattr(planning, "plan", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        builds.build(collection.name)

    assert Vector.objects.count() == 5
    assert not collection.runs.exists()


def test_the_next_attempt_waits_for_what_is_embedded_again_but_not_for_ever(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert collection.model is not None
    damage(collection.model, "NaN", fill(collection, 5)[2].pk)
    monkeypatch.setattr(builds, "_job_id", lambda: "of-this-build")
    with pytest.raises(extracting.BadVectorsStored):
        builds.build(collection.name)

    with pytest.raises(Snooze, match="embedded again"):
        builds.build(collection.name)

    waiting.wait(collection, collection.model, "another job")
    IndexVersion.objects.update(created_at=Now() - timedelta(minutes=16))
    assert built(collection).count == 4


def test_a_disk_that_fills_up_in_the_middle_is_told_with_the_remedy(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(collection, 5)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(faiss_engine, "_write", fail)

    with pytest.raises(DiskFull):
        builds.build(collection.name)

    reason = collection.versions.get().reason
    assert re.fullmatch(
        rf"DiskFull: {folders.indexes_dir()} has [\d,]+ MiB free, and a build of 5 vectors needs about 64 MiB; "
        r"make room there, or set DATA to a larger disk \(No space left on device\)",
        reason,
    )
