"""What is known of an index version's files, and whether they are still so."""

import json
import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from embeddings import files
from embeddings.errors import IndexDamaged
from embeddings.models import IndexVersion
from embeddings.services.folders import LOCK

NAME = "manifest.json"
#: Files as last found to be right, so that not every reader reads them whole.
MARK = ".verified"
_REMEDY = "activate another version, or rebuild the index"

#: path → its mark, for folders in which none can be written.
_hashed: dict[str, list[Any]] = {}


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Name → bytes and sha256 of each file that an engine has written."""
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": files.sha256_of(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in (NAME, MARK, LOCK)
    }


def write(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / NAME).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def libraries() -> dict[str, str]:
    return {"python": sys.version.split()[0], "numpy": version_of("numpy"), "faiss": version_of("faiss-cpu")}


def verify(version: IndexVersion, folder: Path, *, anew: bool = False) -> None:
    """Check a version's files by size and SHA-256; what was found right before and has not been touched is not read.

    anew: read them all the same. Raises IndexDamaged, naming the file.
    """
    mark = {} if anew else _read_mark(folder)
    found: dict[str, list[Any]] = {}
    for name, expected in version.manifest.get("files", {}).items():
        path = folder / name
        found[name] = [*_look(version, path, expected["bytes"]), expected["sha256"]]
        if not anew and found[name] in (mark.get(name), _hashed.get(str(path))):
            continue
        digest = files.sha256_of(path)
        if digest != expected["sha256"]:
            raise IndexDamaged(f"{path} of {_name(version)} was altered: its SHA-256 is {digest}; {_REMEDY}")
        _hashed[str(path)] = found[name]
    if found != mark:
        _write_mark(folder, found)


def check_sizes(version: IndexVersion, folder: Path) -> None:
    """Find files that are gone or cut short, without reading any. Raises IndexDamaged."""
    for name, expected in version.manifest.get("files", {}).items():
        _look(version, folder / name, expected["bytes"])


def _look(version: IndexVersion, path: Path, expected_bytes: int) -> tuple[int, int, int]:
    """Bytes, time of the last change in ns, inode: what changes with a file, and not with its folder's name."""
    try:
        status = path.stat()
    except OSError as exc:
        raise IndexDamaged(f"{path} of {_name(version)} cannot be read ({exc.strerror}); {_REMEDY}") from None
    if status.st_size != expected_bytes:
        raise IndexDamaged(
            f"{path} of {_name(version)} has {status.st_size:,} bytes instead of {expected_bytes:,}; {_REMEDY}"
        )
    return status.st_size, status.st_mtime_ns, status.st_ino


def _name(version: IndexVersion) -> str:
    return f"{version.label} of collection {version.collection.name!r}"


def _read_mark(folder: Path) -> dict[str, list[Any]]:
    try:
        mark = json.loads((folder / MARK).read_text())
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def _write_mark(folder: Path, found: dict[str, list[Any]]) -> None:
    beside = folder / f"{MARK}-{os.getpid()}"
    try:
        beside.write_text(json.dumps(found))
        beside.replace(folder / MARK)
    except OSError:
        beside.unlink(missing_ok=True)
