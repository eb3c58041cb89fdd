"""Where index versions are kept: one storage for all hosts, and this host's copy, which is mapped.

The storage is that of STORAGES["indexes"]. If it is a folder, that is the copy as well.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages

from embeddings import files
from embeddings.errors import IndexDamaged, StoreUnavailable
from embeddings.models import IndexVersion
from embeddings.services import folders, manifest

COPIES = "copies"
_BLOCK = 1 << 20


def folder_name(version: IndexVersion) -> str:
    """Of a version's files; empty if it never had any. It is not made of its id alone, which a new database reuses."""
    return str(version.manifest.get("folder", ""))


def local_root() -> Path:
    """The folder of this host's copies."""
    return _shared_folder() or folders.indexes_dir() / COPIES


def local_folder(version: IndexVersion) -> Path:
    return local_root() / folder_name(version)


def publish(version: IndexVersion, folder: Path) -> Path:
    """Put a finished build where every host finds it. Returns this host's copy; `folder` is gone then.

    Raises OSError, StoreUnavailable.
    """
    files.sync(folder)
    if _shared_folder() is None:
        _upload(version, folder)
    target = local_folder(version)
    target.parent.mkdir(parents=True, exist_ok=True)
    _protect(folder)
    try:
        folder.rename(target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        _move_across(folder, target)
    files.sync_names(target.parent)
    return target


def fetch(version: IndexVersion) -> Path | None:
    """This host's copy of a version, whole and checked; fetched first if need be. None for a version without files.

    Raises IndexDamaged, StoreUnavailable.
    """
    if not version.manifest.get("files"):
        return None
    folder = local_folder(version)
    if not folder.is_dir():
        if _shared_folder() is not None:
            raise IndexDamaged(
                f"{folder}, the files of {version.label} of collection {version.collection.name!r}, is gone; "
                "activate another version, or rebuild the index"
            )
        _fetch_once(version, folder)
    manifest.verify(version, folder)
    return folder


def damage(version: IndexVersion, *, by_content: bool = False) -> str:
    """What is wrong with this host's copy of a version's files; empty if nothing is, or it is still to be fetched.

    by_content: files that were touched since they were last found right are read, and compared by SHA-256.
    """
    folder = local_folder(version)
    if not version.manifest.get("files") or not (folder.is_dir() or is_one_folder()):
        return ""
    try:
        if by_content:
            manifest.verify(version, folder)
        else:
            manifest.check_sizes(version, folder)
    except IndexDamaged as exc:
        return str(exc)
    except OSError as exc:
        return f"{exc.filename or folder} cannot be read: {exc.strerror or exc}"
    return ""


def remove(version: IndexVersion) -> bool:
    """Remove a version's files from the storage, and this host's copy.

    Returns False, removing nothing, while a process of this host has it open.
    """
    if not folder_name(version):
        return True
    if not folders.remove(local_folder(version)):
        return False
    if _shared_folder() is None:
        storage = _storage()
        for name in (*version.manifest.get("files", {}), manifest.NAME):
            # Not every storage tells a file that is gone from one that was never there.
            with contextlib.suppress(FileNotFoundError):
                storage.delete(f"{folder_name(version)}/{name}")
    return True


def in_use(folder: Path) -> bool:
    """Whether a process of this host holds it: builds, fetches or maps it."""
    return folders.in_use(folder)


def local_folders() -> dict[str, Path]:
    """This host's copies: name → folder. What is not named as a version's folder is not among them."""
    root = local_root()
    if not root.is_dir():
        return {}
    return {path.name: path for path in sorted(root.iterdir()) if path.is_dir() and folders.is_of_version(path.name)}


def remove_leftovers() -> list[str]:
    """Remove what builds, fetches and removals left here when their process ended. Returns the folders' names."""
    return folders.remove_leftovers(local_root())


def leftovers() -> list[str]:
    """What `remove_leftovers` would remove."""
    return folders.leftovers(local_root())


def _storage() -> Storage:
    return storages["indexes"]


def is_one_folder() -> bool:
    """Whether the storage and this host's copies are the same, so that what is not here is nowhere."""
    return _shared_folder() is not None


def _shared_folder() -> Path | None:
    """The storage's own folder, if it is one."""
    storage = _storage()
    return Path(storage.location) if isinstance(storage, FileSystemStorage) else None


def _protect(folder: Path) -> None:
    """Keep files from being written to by accident: a process that has one mapped dies when somebody cuts it short."""
    for path in folder.iterdir():
        # A lock on NFS is had by who may write to the file.
        if path.name != folders.LOCK:
            path.chmod(0o444)
    folder.chmod(0o755)


def _move_across(folder: Path, target: Path) -> None:
    """Rename between file systems: the name appears when all of it is there."""
    beside, held = folders.make(f"{folders.BUILDING}{target.name}", target.parent)
    try:
        shutil.copytree(folder, beside, dirs_exist_ok=True)
        files.sync(beside)
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    finally:
        held.release()
    shutil.rmtree(folder, ignore_errors=True)


def _upload(version: IndexVersion, folder: Path) -> None:
    """The manifest goes last: whoever finds it finds the rest."""
    storage = _storage()
    for name in (*version.manifest["files"], manifest.NAME):
        key = f"{folder_name(version)}/{name}"
        try:
            with (folder / name).open("rb") as file:
                kept = storage.save(key, File(file, name=name))
        except Exception as exc:
            raise StoreUnavailable(f"the storage of indexes did not take {key}: {exc}") from exc
        if kept != key:
            storage.delete(kept)
            raise StoreUnavailable(f"the storage of indexes has {key} already; remove it there")


def _fetch_once(version: IndexVersion, folder: Path) -> None:
    """Fetch a version into its folder; whoever wants it meanwhile waits for the first one."""
    with _turn(folder.name) as beside:
        if folder.is_dir():
            return
        for name in version.manifest["files"]:
            _download(f"{folder.name}/{name}", beside / name)
        manifest.write(beside, version.manifest)
        manifest.verify(version, beside, anew=True)
        files.sync(beside)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _protect(beside)
        beside.rename(folder)
        files.sync_names(folder.parent)


@contextlib.contextmanager
def _turn(name: str) -> Iterator[Path]:
    """A folder to fetch into, for one process and thread at a time; it is removed unless it was renamed."""
    turns = folders.indexes_dir() / ".fetching"
    handle = os.open(turns, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        beside = folders.indexes_dir() / f"{folders.FETCHING}{name}"
        shutil.rmtree(beside, ignore_errors=True)
        beside, held = folders.make(beside.name)
        try:
            yield beside
        finally:
            if beside.is_dir():
                shutil.rmtree(beside, ignore_errors=True)
            held.release()
    finally:
        os.close(handle)


def _download(key: str, path: Path) -> None:
    try:
        with _storage().open(key, "rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _BLOCK)
    except FileNotFoundError:
        raise IndexDamaged(f"{key} is not in the storage of indexes; activate another version, or rebuild") from None
    except OSError:
        raise
    except Exception as exc:
        raise StoreUnavailable(f"the storage of indexes did not give {key}: {exc}") from exc
