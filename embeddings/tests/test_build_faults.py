"""Builds and swaps that are killed at every step, full disks and damaged files: the old index serves, no debris."""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import FileSystemStorage, InMemoryStorage, storages
from django.db import connection, connections

from embeddings import files
from embeddings.engines import engine, faiss_engine
from embeddings.errors import DiskFull, IndexDamaged, StoreUnavailable
from embeddings.models import Collection, IndexVersion, Vector
from embeddings.services import builds, extracting, folders, held_queries, manifest, pointer, room, store, versions
from embeddings.services.sessions import session
from embeddings.tests.factories import fill, make_collection, make_model
from jobs.ledger.errors import JobCancelled

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]

#: Where a build or a swap may be when its process is killed: what is about to be called then.
BUILD_STEPS: list[tuple[str, Any, str]] = [
    ("the row is not there yet", versions, "begin"),
    ("the folder is not there yet", folders, "make"),
    ("vectors are about to be copied", extracting, "copy_out"),
    ("vectors are copied", held_queries, "hold"),
    ("the kind is about to be chosen", faiss_engine, "kinds"),
    ("the recall is measured", faiss_engine, "tune"),
    ("the file is about to be written", faiss_engine, "_write"),
    ("the file is written", manifest, "files_of"),
    ("it is about to be checked", builds, "_against"),
    ("it is about to be published", store, "publish"),
    ("it is about to be fsynced", files, "sync"),
    ("it is renamed", files, "sync_names"),
    ("it is published, and not ready", versions, "end"),
]
SWAP_STEPS: list[tuple[str, Any, str]] = [
    ("the files are about to be checked", pointer, "_check_usable"),
    ("the place is about to be chosen", pointer, "_place"),
    ("the pointer is moved, and not committed", pointer, "tell"),
]


@pytest.fixture
def collection(indexes_dir: Path) -> Collection:
    """With a first version in use, and something new."""
    collection = make_collection(model=make_model())
    fill(collection, 60)
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    fill(collection, 5, seed=2)
    return collection


def killed_at(owner: Any, name: str, work: Callable[[], Any]) -> None:
    """Run `work` in a process of its own that is killed -9 when it is about to call that."""

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        setattr(owner, name, die)
        work()

    # One that the child had of us would be shared.
    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(180)
    assert process.exitcode == -signal.SIGKILL, f"it never came to {name}"


def serves(collection: Collection) -> IndexVersion:
    """The version in use, which must answer."""
    collection.refresh_from_db()
    version = collection.active_version
    assert version is not None
    searcher = engine(version.engine).open(version, store.fetch(version))
    query = np.eye(1, version.model.dimension, dtype="float32")
    assert (searcher.search(query, 10)[0] != -1).all()
    assert searcher.count == version.count
    searcher.close()
    return version


def debris() -> list[str]:
    root = folders.indexes_dir()
    kept = {store.folder_name(version) for version in IndexVersion.objects.filter(state="ready")}
    temporary = [path.name for path in root.iterdir() if path.name.startswith(folders.TEMPORARY)]
    return temporary + [name for name in store.local_folders() if name not in kept]


def clean_up() -> None:
    for collection in Collection.objects.all():
        builds.clear_up(collection)
    store.remove_leftovers()


@pytest.mark.parametrize(("owner", "name"), [step[1:] for step in BUILD_STEPS], ids=[step[0] for step in BUILD_STEPS])
def test_a_build_that_is_killed_leaves_the_old_index_serving_and_the_next_one_works(
    collection: Collection, owner: Any, name: str, until: Callable[..., Any]
) -> None:
    killed_at(owner, name, lambda: builds.build(collection.name))

    assert serves(collection).number == 1
    until(lambda: _cleared(collection))
    store.remove_leftovers()
    assert debris() == []
    assert not IndexVersion.objects.filter(state="building").exists()
    assert [row["state"] for row in builds.build(collection.name)["versions"]] == ["ready"]
    pointer.swap_to_newest(collection.name)
    assert serves(collection).count == 65
    assert debris() == []


def _cleared(collection: Collection) -> bool:
    """Postgres lets go of the dead process' lock as soon as it notices."""
    builds.clear_up(collection)
    return not IndexVersion.objects.filter(state="building").exists()


@pytest.mark.parametrize(("owner", "name"), [step[1:] for step in SWAP_STEPS], ids=[step[0] for step in SWAP_STEPS])
def test_a_swap_that_is_killed_has_happened_whole_or_not_at_all(collection: Collection, owner: Any, name: str) -> None:
    builds.build(collection.name)

    killed_at(owner, name, lambda: pointer.swap_to_newest(collection.name))

    assert serves(collection).number == 1
    assert pointer.swap_to_newest(collection.name)["swapped"] == [2]
    assert serves(collection).number == 2


def test_a_build_whose_process_is_killed_is_run_again_by_the_ledger(
    live_worker: Any, ended: Callable[..., Any], until: Callable[..., Any]
) -> None:
    from embeddings.tasks import build_faiss_index
    from jobs.models import Job

    collection = make_collection(model=make_model())
    fill(collection, 60)
    live_worker("indexing", concurrency=1)
    with session() as other:
        sent = build_faiss_index.delay(collection=collection.name)
        until(lambda: IndexVersion.objects.filter(state="building").exists())
        # Its last step waits for this, so it is killed when all is published.
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM embeddings_indexversion WHERE collection_id = %s FOR UPDATE", [collection.pk])
        until(store.local_folders, 60)
        pid = Job.objects.get(pk=sent.id).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        other.execute("COMMIT")

    assert ended(sent.id, 90).state == "succeeded"

    # Postgres may have carried out the last statement of the dead process: then there was nothing left to do.
    states = list(collection.versions.order_by("number").values_list("state", flat=True))
    assert states in (["ready"], ["failed", "ready"])
    pointer.swap_to_newest(collection.name)
    assert serves(collection).count == 60


def test_a_refused_index_fails_its_job_at_once_and_what_is_good_is_swapped_in(
    live_worker: Any, ended: Callable[..., Any], until: Callable[..., Any]
) -> None:
    from embeddings.tasks import build_faiss_index, hot_swap_index
    from jobs.models import Job

    collection = make_collection(model=make_model(), fast_model=make_model(8))
    fill(collection, 60)
    live_worker("indexing", concurrency=1)
    ended(build_faiss_index.delay(collection=collection.name).id, 60)
    ended(hot_swap_index.delay(collection=collection.name).id, 60)
    # Better than any can be: the next one is much worse.
    IndexVersion.objects.update(recall_mean=2.0)
    fill(collection, 5, seed=2)
    fill(collection, 5, collection.fast_model)

    job = ended(build_faiss_index.delay(collection=collection.name).id, 60)

    assert job.state == "failed"
    assert "was refused: its recall@10 is 1.000, more than 0.05 below the 2.000 of version 1" in job.error
    assert job.attempts.count() == 1
    until(lambda: Collection.objects.filter(pk=collection.pk, fast_version__number=3).exists())
    collection.refresh_from_db()
    assert collection.active_version is not None
    assert collection.active_version.number == 1
    assert Job.objects.filter(task="hot_swap_index").count() == 2


@pytest.fixture
def small_disk(indexes_dir: Path, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 4 MiB for INDEXES_DIR."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    try:
        settings.EMBEDDINGS = {**settings.EMBEDDINGS, "INDEXES_DIR": disk}
        monkeypatch.setitem(vars(storages)["_storages"], "indexes", FileSystemStorage(disk / "published"))
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("left_kib", [64, 1500, 2340])
def test_a_disk_that_fills_up_fails_the_build_and_nothing_else(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, left_kib: int
) -> None:
    """While vectors are copied, while the index is written, and at the last files."""
    monkeypatch.setattr(room, "check", lambda *_: None)
    collection = make_collection(model=make_model(384))
    fill(collection, 60)
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    fill(collection, 1500, seed=3)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(shutil.disk_usage(small_disk).free - left_kib * 1024))

    told = r"has \d+ MiB free, and a build of 1,560 vectors needs about 66 MiB; make room .*No space left on device"
    with pytest.raises(DiskFull, match=told):
        builds.build(collection.name)

    failed = collection.versions.get(number=2)
    assert failed.state == "failed"
    assert re.search(rf"DiskFull: {small_disk}\S* {told}", failed.reason)
    assert debris() == []
    assert serves(collection).number == 1
    ballast.unlink()
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    assert serves(collection).count == 1560


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (extracting, "copy_out"),
        (held_queries, "hold"),
        (faiss_engine, "_write"),
        (manifest, "write"),
        (files, "sync"),
        (store, "publish"),
    ],
)
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), JobCancelled("asked to stop"), MemoryError()]
)
def test_whatever_goes_wrong_is_the_versions_reason_and_leaves_nothing(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: BaseException
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(owner, name, fail)

    with pytest.raises(type(error)):
        builds.build(collection.name)

    version = collection.versions.get(number=2)
    assert version.state == "failed"
    names = {JobCancelled: "cancelled", OSError: "DiskFull"}
    assert version.reason.startswith(names.get(type(error), type(error).__name__))
    assert debris() == []
    assert serves(collection).number == 1


@pytest.mark.parametrize("where", [0, 30, 64])
@pytest.mark.parametrize(
    "damage",
    [
        r"overlay(vector placing '\x007e'::bytea from 5)",
        r"overlay(vector placing '\x007c'::bytea from 1)",
        "decode(repeat('00', 32), 'hex')",
        "substr(vector, 1, 30)",
        r"vector || '\x0000'::bytea",
        r"''::bytea",
    ],
    ids=["NaN", "infinite", "zeros", "too short", "too long", "empty"],
)
def test_damaged_vectors_are_named_and_embedded_again(collection: Collection, damage: str, where: int) -> None:
    from embeddings.models import Chunk

    chunk = Chunk.objects.filter(collection=collection).order_by("pk")[where]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE embeddings_vector SET vector = {damage} WHERE content_sha = %s", [bytes(chunk.content_sha)]
        )

    with pytest.raises(extracting.BadVectorsStored, match=rf"1 in all: those of chunks {chunk.pk};"):
        builds.build(collection.name)

    assert debris() == []
    assert Vector.objects.count() == 64
    assert serves(collection).number == 1
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    assert serves(collection).count == 64


def test_a_build_that_finds_damage_is_whole_with_its_second_attempt(
    live_worker: Any, ended: Callable[..., Any], until: Callable[..., Any]
) -> None:
    from django.db.models.functions import Now

    from embeddings.models import Chunk
    from embeddings.tasks import build_faiss_index
    from embeddings.tests.searching_helpers import damage, searchable
    from jobs.models import Attempt, Job

    collection = searchable([f"Document number {n} of many" for n in range(60)])
    assert collection.model is not None
    chunks = Chunk.objects.filter(collection=collection).order_by("pk").values_list("pk", flat=True)
    for how, chunk_id in zip(["NaN", "too short", "zeros"], chunks[::25], strict=True):
        damage(collection.model, how, chunk_id)
    live_worker("indexing", concurrency=1)

    sent = build_faiss_index.delay(collection=collection.name)
    until(lambda: Job.objects.filter(pk=sent.id, state="scheduled", attempts__outcome="failed").exists(), 60)
    Job.objects.filter(pk=sent.id).update(run_at=Now())
    # The second attempt comes before anybody embeds.
    until(lambda: Attempt.objects.filter(job_id=sent.id, outcome="snoozed").exists(), 60)
    live_worker("embedding", concurrency=1)

    assert ended(sent.id, 90).state == "succeeded"
    found = list(collection.versions.order_by("number").values_list("state", "count"))
    assert [state for state, _ in found] == ["failed", "ready"]
    assert found[1][1] == 60


@pytest.mark.parametrize("name", ["index.faiss", "ids.npy"])
@pytest.mark.parametrize("altered", [False, True], ids=["cut", "altered"])
def test_a_damaged_version_is_never_opened_and_the_next_build_replaces_it(
    collection: Collection, name: str, altered: bool
) -> None:
    version = serves(collection)
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    path = store.local_folder(serves(collection)) / name
    data = bytearray(path.read_bytes())
    data[-5] ^= 255
    path.chmod(0o644)
    path.write_bytes(data if altered else data[:-5])

    with pytest.raises(IndexDamaged, match=name):
        serves(collection)

    # An operator goes back, or the next rebuild makes it anew.
    pointer.activate(None, version)
    assert serves(collection).number == 1
    assert builds.build(collection.name)["versions"][0]["version"] == 3
    pointer.swap_to_newest(collection.name)
    assert serves(collection).number == 3


def test_a_folder_that_is_mapped_survives_its_removal(collection: Collection) -> None:
    version = serves(collection)
    searcher = engine("faiss").open(version, store.fetch(version))

    assert not store.remove(version)
    shutil.rmtree(store.local_folder(version))

    query = np.eye(1, 16, dtype="float32")
    assert (searcher.search(query, 10)[0] != -1).all()


class Bucket(InMemoryStorage):
    """A storage that is no folder of this host; the second file of a version may be refused."""

    is_full = False

    def _save(self, name: str, content: Any) -> str:
        if self.is_full and name.endswith("index.faiss"):
            raise RuntimeError("quota exceeded")
        return super()._save(name, content)  # type: ignore[misc]  # the stubs know the public ones


def test_versions_go_through_a_bucket_and_one_that_refuses_a_file_keeps_none(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, indexes_dir: Path
) -> None:
    bucket = Bucket()
    monkeypatch.setitem(vars(storages)["_storages"], "indexes", bucket)
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    # Another host has no copy yet.
    assert folders.remove(indexes_dir / "copies" / store.folder_name(serves(collection)))
    assert serves(collection).number == 2

    fill(collection, 5, seed=4)
    bucket.is_full = True
    with pytest.raises(StoreUnavailable, match=r"did not take .*index\.faiss: quota exceeded"):
        builds.build(collection.name)

    kept = {name: bucket.listdir(name)[1] for name in bucket.listdir("")[0]}
    in_use = store.folder_name(serves(collection))
    assert len(kept.pop(in_use)) == 3
    assert not any(kept.values())
    assert collection.versions.get(number=3).state == "failed"
    assert list(store.local_folders()) == [in_use]
