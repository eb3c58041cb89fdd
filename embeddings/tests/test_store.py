"""Files of versions: published whole, fetched once, checked, and never removed under a reader."""

import errno
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage, storages

from embeddings import files
from embeddings.errors import IndexDamaged, StoreUnavailable
from embeddings.models import Collection, IndexVersion
from embeddings.services import folders, manifest, store

FILES = {"index.faiss": b"an index" * 1000, "ids.npy": b"ids" * 100}


class Bucket(InMemoryStorage):
    """A storage that is no folder, and counts what is read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.read = list[str]()

    def _open(self, name: str, mode: str = "rb") -> Any:
        self.read.append(name)
        return super()._open(name, mode)  # type: ignore[misc]  # the stubs know the public ones


pytestmark = pytest.mark.usefixtures("indexes_dir")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    storage = Bucket()
    monkeypatch.setitem(vars(storages)["_storages"], "indexes", storage)
    return storage


def a_build(name: str = "docs-1-0123abcd") -> tuple[IndexVersion, Path, folders.Hold]:
    folder, held = folders.make(f".building-{name}")
    for file, content in FILES.items():
        (folder / file).write_bytes(content)
    version = IndexVersion(number=1, collection=Collection(name="docs"), manifest={"folder": name})
    version.manifest["files"] = manifest.files_of(folder)
    manifest.write(folder, version.manifest)
    return version, folder, held


def published(name: str = "docs-1-0123abcd") -> IndexVersion:
    version, folder, held = a_build(name)
    store.publish(version, folder)
    held.release()
    return version


def test_a_shared_folder_is_the_hosts_copy_as_well(indexes_dir: Path) -> None:
    version, folder, _held = a_build()

    target = store.publish(version, folder)

    assert target == store.fetch(version) == indexes_dir / "published" / "docs-1-0123abcd"
    assert (target / "index.faiss").read_bytes() == FILES["index.faiss"]
    assert not folder.exists()
    assert list(store.local_folders()) == ["docs-1-0123abcd"]


def test_a_bucket_is_fetched_from_once(bucket: Bucket, indexes_dir: Path) -> None:
    version = published()
    folder = store.fetch(version)
    assert folder == indexes_dir / "copies" / "docs-1-0123abcd"
    assert bucket.read == []
    # Another host has nothing yet.
    assert folders.remove(folder)

    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(lambda _: store.fetch(version), range(4)))

    assert found == {folder}
    assert sorted(bucket.read) == ["docs-1-0123abcd/ids.npy", "docs-1-0123abcd/index.faiss"]
    assert (folder / "index.faiss").read_bytes() == FILES["index.faiss"]
    assert not list(indexes_dir.glob(".fetching-*"))


@pytest.mark.parametrize("where", ["a folder", "a folder on another disk", "a bucket"])
def test_files_that_are_mapped_are_not_there_to_be_written_to(
    where: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "a bucket":
        request.getfixturevalue("bucket")
    version, folder, held = a_build()
    folder.chmod(0o777)
    if where == "a folder on another disk":
        rename = Path.rename

        def across(path: Path, target: Path) -> Path:
            if path == folder:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", across)
    store.publish(version, folder)
    held.release()
    found = [_modes(store.local_folder(version))]
    if where == "a bucket":
        assert folders.remove(store.local_folder(version))
        found.append(_modes(store.fetch(version)))

    for modes in found:
        assert modes == {".": 0o755, "index.faiss": 0o444, "ids.npy": 0o444, "manifest.json": 0o444, "lock": 0o644}
    assert store.remove(version)
    assert store.local_folders() == {}


def _modes(folder: Path | None) -> dict[str, int]:
    assert folder is not None
    inside = {path.name: path for path in folder.iterdir() if path.name != manifest.MARK}
    return {name: path.stat().st_mode & 0o777 for name, path in {".": folder, **inside}.items()}


def test_what_arrives_altered_is_not_kept(bucket: Bucket, indexes_dir: Path) -> None:
    version = published()
    folders.remove(store.local_folder(version))
    bucket.delete("docs-1-0123abcd/ids.npy")
    bucket.save("docs-1-0123abcd/ids.npy", _content(b"x" * len(FILES["ids.npy"])))

    with pytest.raises(IndexDamaged, match=r"ids\.npy.*was altered"):
        store.fetch(version)

    assert store.local_folders() == {}
    assert not list(indexes_dir.glob(".fetching-*"))


def test_what_the_bucket_lost_is_named(bucket: Bucket) -> None:
    version = published()
    folders.remove(store.local_folder(version))
    bucket.delete("docs-1-0123abcd/index.faiss")

    with pytest.raises(IndexDamaged, match=r"docs-1-0123abcd/index\.faiss is not in the storage"):
        store.fetch(version)


def test_a_bucket_that_does_not_answer_is_told_from_a_damaged_index(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = published()
    folders.remove(store.local_folder(version))

    def away(name: str, mode: str) -> None:
        raise RuntimeError("connection refused")

    monkeypatch.setattr(bucket, "_open", away)
    with pytest.raises(StoreUnavailable, match="connection refused"):
        store.fetch(version)


def test_a_name_that_is_taken_in_the_bucket_is_no_place_for_a_version(bucket: Bucket) -> None:
    bucket.save("docs-1-0123abcd/index.faiss", _content(b"another"))
    version, folder, _held = a_build()

    with pytest.raises(StoreUnavailable, match=r"has docs-1-0123abcd/.* already"):
        store.publish(version, folder)

    assert len(bucket.listdir("docs-1-0123abcd")[1]) == 2  # that one, and ids.npy, which the clean-up removes


def test_removing_takes_both_copies(bucket: Bucket) -> None:
    version = published()

    assert store.remove(version)

    assert store.local_folders() == {}
    assert bucket.listdir("docs-1-0123abcd") == ([], [])
    assert store.remove(version)


def test_what_somebody_holds_stays_until_it_is_let_go() -> None:
    version = published()
    folder = store.local_folder(version)
    held = folders.hold(folder)
    assert held is not None

    assert store.in_use(folder)
    assert not store.remove(version)
    held.release()
    assert not store.in_use(folder)
    assert store.remove(version)
    assert folders.hold(folder) is None


def test_a_hold_ends_when_nobody_refers_to_it() -> None:
    folder = store.local_folder(published())
    held = folders.hold(folder)
    assert store.in_use(folder)

    del held

    assert not store.in_use(folder)


def _hold_and_sleep(folder: Path, ready: Any) -> None:
    _held = folders.hold(folder)
    ready.set()
    time.sleep(240)


def test_a_process_that_is_killed_holds_nothing(indexes_dir: Path) -> None:
    folder = store.local_folder(published())
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold_and_sleep, args=(folder, ready))
    process.start()
    assert ready.wait(60)
    assert store.in_use(folder)

    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert not store.in_use(folder)


def test_leftovers_go_and_what_is_being_built_stays(indexes_dir: Path) -> None:
    _version, building, _held = a_build("alive-1-0123abcd")
    _, dead, gone = a_build("dead-1-0123abcd")
    gone.release()
    (indexes_dir / ".fetching-half-1-0123abcd").mkdir()
    published("whole-1-0123abcd")

    assert store.remove_leftovers() == [".building-dead-1-0123abcd", ".fetching-half-1-0123abcd"]

    assert building.is_dir()
    assert not dead.exists()
    assert list(store.local_folders()) == ["whole-1-0123abcd"]


def test_a_file_that_was_checked_is_read_again_only_when_it_was_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    version = published()
    read = list[str]()
    sha256_of = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda path: (read.append(path.name), sha256_of(path))[1])
    folder = store.fetch(version)
    monkeypatch.setattr(manifest, "_hashed", {})
    read.clear()

    store.fetch(version)
    assert read == []
    os.utime(folder / "index.faiss", ns=(1, 1))
    store.fetch(version)
    assert read == ["index.faiss"]


def test_another_file_system_gets_a_whole_copy_or_none(monkeypatch: pytest.MonkeyPatch, indexes_dir: Path) -> None:
    rename = Path.rename

    def across(self: Path, target: Path) -> Path:
        if self.parent != target.parent:
            raise OSError(18, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)
    version = published()

    assert store.fetch(version) == indexes_dir / "published" / "docs-1-0123abcd"
    assert not list(indexes_dir.glob("**/.building-*"))


def _content(data: bytes) -> Any:
    from django.core.files.base import ContentFile

    return ContentFile(data)
