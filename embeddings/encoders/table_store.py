"""Where static tables are kept: a folder for each, by digest, here and in the storage that all hosts share.

A folder holds table.npy, tokenizer.json and manifest.json, is written apart and then renamed, and never changes after.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages

from embeddings.encoders.base import EncoderUnavailable
from embeddings.files import sha256_of, sync, sync_names
from embeddings.vectors import Matrix

FORMAT = 1
TABLE, TOKENIZER, MANIFEST = "table.npy", "tokenizer.json", "manifest.json"
_WORKING = ".working-"
_DEBRIS_SECONDS = 86_400


class TableDamaged(ValueError):
    """A static table is not what its manifest says; the message names the file."""


def tables_folder() -> Path:
    return Path(settings.EMBEDDINGS["ENCODERS_DIR"]) / "static"


def write(rows: Matrix, tokenizer: bytes, parameters: dict[str, Any], quality: dict[str, Any]) -> str:
    """Keep a table on this host, whole or not at all, and return its digest.

    rows: shape (vocabulary, d), what a token adds to a text's sum. tokenizer: tokenizer.json of those tokens.
    """
    with _working_folder() as folder:
        with (folder / TABLE).open("wb") as file:
            np.save(file, np.ascontiguousarray(rows, dtype="<f4"), allow_pickle=False)
        (folder / TOKENIZER).write_bytes(tokenizer)
        files = {name: sha256_of(folder / name) for name in (TABLE, TOKENIZER)}
        manifest = {
            "format": FORMAT,
            "digest": _digest(files),
            "dimension": int(rows.shape[1]),
            "files": files,
            "parameters": parameters,
            "quality": quality,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2))
        return _put_in_place(folder, _digest(files))


def publish(digest: str) -> None:
    """Copy a table of this host to the shared storage, the manifest last; nothing if it is there already."""
    shared = storages["indexes"]
    if shared.exists(_shared_name(digest, MANIFEST)):
        return
    for name in (TABLE, TOKENIZER, MANIFEST):
        # What a stopped attempt left would otherwise make the storage pick another name.
        if shared.exists(_shared_name(digest, name)):
            shared.delete(_shared_name(digest, name))
        with (tables_folder() / digest / name).open("rb") as file:
            shared.save(_shared_name(digest, name), File(file))


def ensure_here(digest: str) -> Path:
    """The folder of a table on this host, checked; fetched from the shared storage where it is missing or damaged.

    Raises EncoderUnavailable.
    """
    if is_good(digest):
        return tables_folder() / digest
    try:
        return _fetch(digest)
    except (OSError, TableDamaged) as error:
        raise EncoderUnavailable(
            f"static table {digest[:12]} is neither in {tables_folder()} nor in the storage of indexes ({error}); "
            "check INDEX_STORAGE, or run the job embeddings.fit_static to make one"
        ) from error


def check(folder: Path) -> dict[str, Any]:
    """Return a table's manifest. Raises TableDamaged or FileNotFoundError."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        files = dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise TableDamaged(f"{folder / MANIFEST} cannot be read: {error}") from error
    if manifest.get("format") != FORMAT or set(files) != {TABLE, TOKENIZER}:
        raise TableDamaged(f"{folder / MANIFEST} is of another format than {FORMAT}")
    for name, expected in files.items():
        if sha256_of(folder / name) != expected:
            raise TableDamaged(f"{folder / name} was cut short or altered")
    if _digest(files) != manifest.get("digest"):
        raise TableDamaged(f"{folder / MANIFEST} was altered")
    return manifest


def remove(digest: str) -> None:
    """Remove a table here and from the shared storage. Who has it mapped keeps it until the process ends."""
    shutil.rmtree(tables_folder() / digest, ignore_errors=True)
    shared = storages["indexes"]
    for name in (MANIFEST, TOKENIZER, TABLE):
        with contextlib.suppress(FileNotFoundError):
            shared.delete(_shared_name(digest, name))


def _fetch(digest: str) -> Path:
    shared = storages["indexes"]
    with _working_folder() as folder:
        for name in (MANIFEST, TOKENIZER, TABLE):
            _copy(shared, _shared_name(digest, name), folder / name)
        found = check(folder)["digest"]
        if found != digest:
            raise TableDamaged(f"the storage has the table {found[:12]} under that name")
        return tables_folder() / _put_in_place(folder, digest)


def _copy(shared: Storage, name: str, to: Path) -> None:
    with shared.open(name) as source, to.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


@contextlib.contextmanager
def _working_folder() -> Iterator[Path]:
    tables_folder().mkdir(parents=True, exist_ok=True)
    _remove_debris()
    folder = Path(tempfile.mkdtemp(prefix=_WORKING, dir=tables_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, digest: str) -> str:
    """Rename a finished folder to its digest; a good one of that name stays, since it holds the same."""
    sync(folder)
    folder.chmod(0o755)
    target = tables_folder() / digest
    if not is_good(digest):
        shutil.rmtree(target, ignore_errors=True)  # who has the damaged one mapped goes on with it
        try:
            folder.rename(target)
        except OSError:  # another process was first
            check(target)
    sync_names(tables_folder())
    return digest


def is_good(digest: str) -> bool:
    """Whether this host has a table, whole."""
    try:
        return bool(check(tables_folder() / digest)["digest"] == digest)
    except (TableDamaged, FileNotFoundError):
        return False


def _remove_debris() -> None:
    """Remove what a process that was killed left behind."""
    for folder in tables_folder().glob(f"{_WORKING}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _DEBRIS_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps({"format": FORMAT, "files": files}, sort_keys=True).encode()).hexdigest()


def _shared_name(digest: str, name: str) -> str:
    return f"static/{digest}/{name}"
