"""Folders that are built once on a host, whole or not at all, however many processes want them."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from django.conf import settings
from filelock import FileLock, Timeout

from embeddings import files
from embeddings.encoders.base import EncoderUnavailable, ProviderBusy

#: How long a process waits for another one that builds the same.
WAIT_SECONDS = 600
MANIFEST = "manifest.json"
#: When to look again whether it is built, for those who do not wait.
LOOK_AGAIN_SECONDS = 3.0

_wait_seconds: ContextVar[float] = ContextVar("wait_seconds", default=WAIT_SECONDS)


@contextlib.contextmanager
def not_waiting() -> Iterator[None]:
    """Inside, `build_once` raises ProviderBusy while another process builds: a worker has other jobs to do."""
    token = _wait_seconds.set(0)
    try:
        yield
    finally:
        _wait_seconds.reset(token)


def folder_of(digest: str) -> Path:
    return Path(settings.EMBEDDINGS["ENCODERS_DIR"]) / digest


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """What was noted when the folder was built; None if it was not, or is damaged."""
    try:
        noted = json.loads((folder / MANIFEST).read_text())
        whole = all(files.sha256_of(folder / name) == expected for name, expected in noted["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return noted if whole else None


def build_once(digest: str, make: Callable[[Path], dict[str, Any]], *, anew: bool = False) -> dict[str, Any]:
    """Have `make` fill a folder, unless it has been; returns its manifest.

    make: gets an empty folder, and returns what is to be noted beside the files. anew: build even if it is there.
    Raises EncoderUnavailable if the folder of encoders cannot be written, ProviderBusy (see `not_waiting`), and
    whatever `make` raises; then nothing is left behind.
    """
    target = folder_of(digest)
    noted = None if anew else manifest_of(target)
    if noted is not None:
        return noted
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{digest}.lock", timeout=_wait_seconds.get()):
            noted = None if anew else manifest_of(target)
            return noted if noted is not None else _build(target, make)
    except Timeout:
        if not _wait_seconds.get():
            raise ProviderBusy(LOOK_AGAIN_SECONDS, f"another process is building {target.name[:12]}") from None
        raise EncoderUnavailable(f"another process has been building {target} for {WAIT_SECONDS} s") from None
    except OSError as exc:
        raise EncoderUnavailable(
            f"{target} cannot be written: {exc.strerror or exc}; make room or set ENCODERS_DIR"
        ) from exc


def _build(target: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Under the lock: nobody else writes here, so what an earlier process left half done is in nobody's use."""
    draft = target.with_name(f".{target.name}.building")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        noted = dict(make(draft))
        made = sorted(draft.iterdir())
        noted |= {
            "bytes": {file.name: file.stat().st_size for file in made},
            "sha256": {file.name: files.sha256_of(file) for file in made},
        }
        (draft / MANIFEST).write_text(json.dumps(noted, indent=2))
        files.sync(draft)
        # Whoever maps the old files keeps them; a crash between the two leaves none, which is built again.
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        files.sync_names(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return noted
