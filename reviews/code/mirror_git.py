"""Runs git for mirrors: limits on time, size and protocols; credentials in its environment alone.

Source: git(1) on GIT_ALLOW_PROTOCOL, git-config(1) on protected configuration and http.*, git-fetch(1).
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from reviews import processes
from reviews.git import GitError

SHORT_SECONDS = 120.0
POLL_SECONDS = 0.25
#: `http` is for GitHub Enterprise at an address that an operator entered so.
PROTOCOLS = frozenset({"https", "http"})

_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_PAGER": "cat",
    "HOME": "/nonexistent",
}
_SETTINGS = {
    "safe.directory": "*",
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "",
    "core.askPass": "",
    "credential.helper": "",
    # With a redirect, the token would go where it leads.
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.version": "2",
    "fetch.unpackLimit": "1",
    "fetch.recurseSubmodules": "false",
    "transfer.bundleURI": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "core.bigFileThreshold": "16m",
}
#: How to get out, and whom to believe, is the machine's.
_NETWORK = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")


class TookTooLong(GitError):
    pass


def argv(*arguments: str) -> list[str]:
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    return ["git", "--no-pager", *settings, *arguments]


def environment(more: Mapping[str, str] | None = None, *, network: bool = False) -> dict[str, str]:
    """more: such as the credentials of a remote."""
    given = {**_ENVIRONMENT, "GIT_ALLOW_PROTOCOL": ":".join(sorted(PROTOCOLS)) if network else ""}
    if network:
        names = [name for upper in _NETWORK for name in (upper, upper.lower())]
        given |= {name: os.environ[name] for name in names if name in os.environ}
    return processes.plain_environment(**given, **(more or {}))


def run(folder: Path, *arguments: str, timeout_seconds: float = SHORT_SECONDS) -> bytes:
    """The output of git, without network. Raises GitError, whose message ends with git's own first line."""
    code, output, errors = _run(folder, arguments, timeout_seconds)
    if code:
        raise GitError(f"git {arguments[0]} ended with {code}: {first_line(errors)}")
    return output


def succeeds(folder: Path, *arguments: str) -> bool:
    return _run(folder, arguments, SHORT_SECONDS)[0] == 0


def _run(folder: Path, arguments: tuple[str, ...], timeout_seconds: float) -> tuple[int, bytes, str]:
    try:
        return processes.run(argv(*arguments), timeout_seconds=timeout_seconds, environment=environment(), cwd=folder)
    except processes.ProgramTimedOut as exc:
        raise TookTooLong(f"git {arguments[0]}: {exc}") from None
    except FileNotFoundError:
        raise GitError("the program `git` is not installed; install it, for example with apt install git") from None


def watched(
    folder: Path,
    *arguments: str,
    credentials: Mapping[str, str],
    timeout_seconds: float,
    check: Callable[[], None],
) -> tuple[int, str]:
    """Run git with the network: exit code, and the end of its errors.

    check: called again and again; what it raises ends git. Raises TookTooLong.
    """
    given = environment(credentials, network=True)
    with tempfile.TemporaryFile() as errors:
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": errors,
        }  # fmt: skip
        deadline = time.monotonic() + timeout_seconds
        try:
            with processes.running(argv(*arguments), cwd=folder, env=given, **options) as process:
                while process.poll() is None:
                    check()
                    if time.monotonic() > deadline:
                        raise TookTooLong(f"git {arguments[0]} took more than {timeout_seconds:g} s")
                    _wait(process)
                code = process.returncode
        except FileNotFoundError:
            raise GitError("the program `git` is not installed; install it, for example with apt install git") from None
        return code, _end(errors)


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return


def _end(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - 4000))
    return errors.read().decode("utf-8", "replace").strip()


def first_line(errors: str) -> str:
    """The line that says most, without what could steer a terminal."""
    lines = [line for line in errors.splitlines() if line.strip()]
    chosen = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0] if lines else "")
    return "".join(char for char in chosen if char.isprintable())[:300] or "no reason given"


def folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118  (of thousands, many times)
            except OSError:
                continue
    return total
