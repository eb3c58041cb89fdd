"""The clean-up removes versions, folders and tables of indexes that nothing needs, also beside builds and searches."""

import threading
from pathlib import Path

import numpy as np
import pytest
from django.core.files.storage import InMemoryStorage, storages
from django.db import connection, connections
from django.db.models.functions import Now

from embeddings.engines import engine, pgvector_store
from embeddings.models import (
    Activation,
    Collection,
    Engine,
    IndexVersion,
    SetAside,
    VersionState,
)
from embeddings.services import builds, cleaning, folders, pointer, store, versions
from embeddings.services.sessions import session
from embeddings.tests.aged_rows import age, committed, release
from embeddings.tests.factories import clustered, fill, make_collection, make_model


@pytest.fixture
def collection(indexes_dir: Path) -> Collection:
    """In a folder of its own: what other tests have left is no stray, and let go by nobody in the middle of a test."""
    return make_collection(model=make_model(), keep_versions=2)


@committed
def test_versions_beyond_those_that_are_kept_go_with_their_files(collection):
    release(collection, 4)

    assert cleaning.clean_up(dry_run=True)["index_versions"] == 2
    assert cleaning.clean_up()["index_versions"] == 2
    states = dict(collection.versions.values_list("number", "state"))
    assert states == {1: "removed", 2: "removed", 3: "ready", 4: "ready"}
    for version in collection.versions.all():
        assert store.local_folder(version).is_dir() is (version.number > 2)
        assert (version.removed_at is None) is (version.number > 2)
    assert cleaning.clean_up()["index_versions"] == 0


@pytest.mark.long
@committed
def test_the_version_in_use_stays_however_old_it_is(collection):
    release(collection, 4)
    pointer.activate(None, collection.versions.get(number=1), "went back")
    age(Activation.objects, "at", days=1)

    cleaning.clean_up()

    kept = set(collection.versions.filter(state=VersionState.READY).values_list("number", flat=True))
    assert kept == {1, 4}


@pytest.mark.long
@committed
def test_nothing_goes_right_after_a_swap(collection):
    release(collection, 4)
    Activation.objects.update(at=Now())

    assert cleaning.clean_up()["index_versions"] == 0


@pytest.mark.long
@committed
def test_the_newest_version_of_a_candidate_and_of_a_previous_model_stay(collection):
    release(collection, 1)
    for column in ("candidate", "previous"):
        model = make_model()
        Collection.objects.filter(pk=collection.pk).update(**{column: model, f"{column}_encoder": "test"})
        collection.refresh_from_db()
        for _ in range(2):
            fill(collection, 3, model=model)
            builds.build(collection.name, model)

    assert cleaning.clean_up()["index_versions"] == 2
    kept = IndexVersion.objects.filter(state=VersionState.READY).values_list("number", flat=True)
    assert sorted(kept) == [1, 3, 5]


@pytest.mark.long
@committed
def test_a_version_that_a_process_reads_stays_until_it_is_done(collection):
    release(collection, 3)
    first = collection.versions.get(number=1)
    searcher = engine(first.engine).open(first, store.fetch(first))
    holding = folders.hold(store.local_folder(first))

    assert cleaning.clean_up()["index_versions"] == 0
    assert store.local_folder(first).is_dir()

    searcher.close()
    del searcher
    holding.release()
    assert cleaning.clean_up()["index_versions"] == 1


@pytest.mark.long
@committed
def test_what_was_cut_off_between_row_and_files_is_finished_by_the_next(collection, monkeypatch):
    release(collection, 3)
    first = collection.versions.get(number=1)
    with monkeypatch.context() as patch:
        patch.setattr(store, "remove", lambda version: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cleaning.clean_up()
    first.refresh_from_db()
    assert (first.state, first.removed_at) == (VersionState.REMOVED, None)

    cleaning.clean_up()

    first.refresh_from_db()
    assert first.removed_at is not None
    assert not store.local_folder(first).exists()


@pytest.mark.django_db
def test_a_failed_version_keeps_its_reason_for_a_while(collection):
    failed = IndexVersion.objects.create(
        collection=collection, number=1, model=collection.model, engine="faiss", state="failed", reason="disk full"
    )
    assert cleaning.clean_up()["failed_versions"] == 0
    age(IndexVersion.objects)
    assert cleaning.clean_up()["failed_versions"] == 1
    failed.refresh_from_db()
    assert (failed.state, failed.reason) == (VersionState.FAILED, "disk full")

    age(IndexVersion.objects, "removed_at", days=91)
    assert cleaning.clean_up()["version_rows"] == 1
    assert not IndexVersion.objects.exists()


@committed
def test_builds_whose_process_died_fail_and_their_folders_go(collection):
    dead = IndexVersion.objects.create(
        collection=collection, number=1, model=collection.model, engine="faiss", manifest={"folder": "dead-1-0123abcd"}
    )
    folder, held = folders.make(f"{folders.BUILDING}dead-1-0123abcd")
    held.release()
    stray = store.local_root() / "of-another-database-1-0123abcd"
    stray.mkdir(parents=True)
    (stray / folders.LOCK).touch()
    alive, living = folders.make(f"{folders.BUILDING}alive-1-0123abcd")

    counts = cleaning.clean_up()

    dead.refresh_from_db()
    assert dead.state == VersionState.FAILED
    assert counts["dead_builds"] == 1
    assert not folder.exists()
    assert not stray.exists()
    assert alive.exists()
    living.release()
    cleaning.clean_up()
    assert not alive.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("is_bucket", [False, True])
def test_only_folders_of_versions_are_left_over(indexes_dir, monkeypatch, is_bucket):
    """The storage is shared with static tables, and perhaps with what is not ours."""
    if is_bucket:
        monkeypatch.setitem(vars(storages)["_storages"], "indexes", InMemoryStorage())
    inside, above = store.local_root(), folders.indexes_dir()
    static = inside / "static" / ("0123abcd" * 8)
    kept = [static, inside / "backup-2026", above / ".building-site", above / "books-1-0123abcd-old", above / ".git"]
    stray = [inside / "books-1-0123abcd", above / ".building-books-2-0123abcd", inside / ".removing-books-3-0123abcd-9"]
    for folder in (*kept, *stray):
        folder.mkdir(parents=True)

    assert cleaning.clean_up(dry_run=True)["folders"] == len(stray)
    assert cleaning.clean_up()["folders"] == len(stray)

    assert all(folder.is_dir() for folder in kept)
    assert not any(folder.exists() for folder in stray)
    assert cleaning.clean_up(dry_run=True)["folders"] == 0


@committed
def test_a_dry_run_tells_what_a_clean_up_removes(collection):
    dead = versions.begin(collection, collection.model, {})
    folders.make(f"{folders.BUILDING}{store.folder_name(dead)}")[1].release()
    folders.make(f"{folders.BUILDING}of-another-1-0123abcd")[1].release()
    _, held = folders.make(f"{folders.BUILDING}alive-1-0123abcd")

    told = cleaning.clean_up(dry_run=True)

    assert (told["dead_builds"], told["folders"]) == (1, 1)
    assert cleaning.clean_up() == told
    held.release()


@pytest.mark.long
@committed
def test_tables_without_a_version_go_and_those_with_one_stay(collection):
    Collection.objects.filter(pk=collection.pk).update(engine=Engine.PGVECTOR)
    collection.refresh_from_db()
    release(collection, 3)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE embeddings_pgindex_987654321 (chunk_id bigint)")

    counts = cleaning.clean_up()

    assert (counts["index_versions"], counts["tables"]) == (1, 1)
    ready = IndexVersion.objects.filter(state=VersionState.READY).values_list("pk", flat=True)
    assert pgvector_store.tables() == sorted(ready)
    assert len(ready) == 2


@pytest.mark.long
@committed
def test_a_table_that_is_being_read_and_a_storage_that_is_away_keep_nothing_else_from_being_cleaned(
    collection, monkeypatch
):
    release(collection, 3)
    monkeypatch.setattr(store, "remove", lambda version: (_ for _ in ()).throw(OSError("bucket")))
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE embeddings_pgindex_987654321 (chunk_id bigint)")
    real = pgvector_store.drop
    monkeypatch.setattr(pgvector_store, "drop", lambda version_id: real(version_id, wait_seconds=1))
    chunk = fill(collection, 1)[0]
    SetAside.objects.create(
        model=collection.model, content_sha=b"gone" * 8, chunk_id=chunk.pk, collection=collection, reason="r"
    )

    with session() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM embeddings_pgindex_987654321")
        counts = cleaning.clean_up()

    assert (counts["index_versions"], counts["tables"], counts["set_aside"]) == (1, 0, 1)
    first = collection.versions.get(number=1)
    assert (first.state, first.removed_at) == (VersionState.REMOVED, None)
    monkeypatch.undo()
    assert cleaning.clean_up()["tables"] == 1
    first.refresh_from_db()
    assert first.removed_at is not None


# --- beside others ---


@pytest.mark.long
@committed
def test_a_clean_up_in_the_middle_of_a_build_and_of_searches_takes_nothing_from_them(collection, monkeypatch):
    release(collection, 4)
    version = collection.versions.get(number=4)
    searcher = engine(version.engine).open(version, store.fetch(version))
    query = np.asarray(clustered(1, seed=99))
    expected = searcher.search(query, 5)[0].tolist()
    seen: list[dict[str, int]] = []
    failed: list[Exception] = []
    stop = threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                assert searcher.search(query, 5)[0].tolist() == expected
        except Exception as exc:
            failed.append(exc)

    def clean() -> None:
        try:
            seen.append(cleaning.clean_up())
        finally:
            connections.close_all()

    real = builds._describe

    def describe(*args):
        # The build has made its index and is about to publish it.
        thread = threading.Thread(target=clean)
        thread.start()
        thread.join()
        return real(*args)

    monkeypatch.setattr(builds, "_describe", describe)
    searching = threading.Thread(target=search)
    searching.start()
    try:
        newest = release(collection)
    finally:
        stop.set()
        searching.join()
        searcher.close()

    assert not failed
    assert seen[0]["dead_builds"] == 0
    assert (newest.number, newest.state) == (5, VersionState.READY)
    assert store.local_folder(newest).is_dir()
    assert engine(newest.engine).open(newest, store.fetch(newest)).count == 100
