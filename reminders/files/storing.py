"""The storage of contents, by their SHA-256, and of their thumbnails."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage, storages
from django.db import connection

_PIECE = 256 * 1024
CONTENTS = "contents"
THUMBNAILS = "thumbnails"
# Of advisory locks: the first of their two numbers.
_LOCKS = 0x5357_4641


class StorageAway(Exception):
    """The storage did not answer, or lacks what it should have; the message says which."""


class _Moved(File):  # type: ignore[type-arg]
    """A file of this disk that a storage on it takes by renaming."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def storage() -> Storage:
    return storages["attachments"]


def content_key(sha256: str) -> str:
    return f"{CONTENTS}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def thumbnail_key(sha256: str) -> str:
    return f"{THUMBNAILS}/{sha256[:2]}/{sha256[2:4]}/{sha256}.webp"


def lock(sha256: str) -> None:
    """Until the transaction ends, nobody else stores or removes this content, whether a row has it or not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCKS, sha256])


def keep(path: Path, sha256: str) -> str:
    """Store a file of quarantine, and return its key. Raises StorageAway."""
    key = content_key(sha256)
    with path.open("rb") as opened:
        moved = _Moved(opened, name=str(path))
        return _save(key, moved)


def keep_thumbnail(content: bytes, sha256: str) -> str:
    """Raises StorageAway."""
    return _save(thumbnail_key(sha256), ContentFile(content))


def _save(key: str, content: Any) -> str:
    try:
        return str(storage().save(key, content))
    except Exception as exc:  # of any backend
        raise StorageAway(f"the storage does not take files: {type(exc).__name__}: {str(exc)[:200]}") from exc


def opened(key: str) -> Any:
    """A stored file, open for reading. Raises StorageAway."""
    try:
        return storage().open(key, "rb")
    except Exception as exc:  # of any backend
        raise StorageAway(f"the storage gives no file: {type(exc).__name__}") from exc


def pieces(key: str) -> Iterator[bytes]:
    """Raises StorageAway."""
    with opened(key) as file:
        while piece := file.read(_PIECE):
            yield piece


def exists(key: str) -> bool:
    """Raises StorageAway."""
    try:
        return bool(storage().exists(key))
    except Exception as exc:  # of any backend
        raise StorageAway(f"the storage does not answer: {type(exc).__name__}") from exc


def remove(*keys: str) -> None:
    """What is not there is passed over. Raises StorageAway."""
    for key in filter(None, keys):
        try:
            storage().delete(key)
        except FileNotFoundError:
            continue
        except Exception as exc:  # of any backend
            raise StorageAway(f"the storage does not remove files: {type(exc).__name__}") from exc


def listed() -> Iterator[tuple[str, datetime]]:
    """Every key that is stored, and when it was written. Raises StorageAway."""
    try:
        for top in (CONTENTS, THUMBNAILS):
            for first in _folders(top):
                for second in _folders(f"{top}/{first}"):
                    place = f"{top}/{first}/{second}"
                    for name in storage().listdir(place)[1]:
                        key = f"{place}/{name}"
                        yield key, storage().get_modified_time(key)
    except Exception as exc:  # of any backend
        raise StorageAway(f"the storage cannot be listed: {type(exc).__name__}") from exc


def _folders(place: str) -> list[str]:
    try:
        return list(storage().listdir(place)[0])
    except FileNotFoundError:
        return []
