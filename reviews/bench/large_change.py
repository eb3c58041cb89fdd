"""A change of thousands of files, one of them of many megabytes."""

import subprocess
from pathlib import Path

from reviews import processes

LARGE_FILE, LARGE_LINE = "data/measured.jsonl", b'{"a": 1}\n'
_KINDS = ("py", "py", "ts", "js", "sh")


def write_repository(folder: Path, files: int, large_bytes: int) -> Path:
    """A repository of two commits: the second changes that many files, and adds one of so many bytes."""
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "-b", "main")
    for number in range(files):
        _write(folder, number, "")
    _commit(folder)
    for number in range(files):
        _write(folder, number, "eval(input())\n" if number % 50 == 0 else "\n")
    large = folder / LARGE_FILE
    large.parent.mkdir()
    large.write_bytes(LARGE_LINE * (large_bytes // len(LARGE_LINE)))
    _commit(folder)
    return folder


def _write(folder: Path, number: int, more: str) -> None:
    kind = _KINDS[number % len(_KINDS)]
    path = folder / f"package{number % 60}" / f"module{number}.{kind}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(_text(kind) + more)


def _text(kind: str) -> str:
    if kind == "py":
        return "".join(
            f"def step{number}(a, b):\n    return [a + b * {number} for _ in range({number})]\n\n\n"
            for number in range(40)
        )
    if kind == "sh":
        return "#!/bin/bash\n" + 'echo "x"\n' * 50
    return "".join(f"export const value{number} = {number};\n" for number in range(100))


def _commit(folder: Path) -> None:
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "change")


def _git(folder: Path, *arguments: str) -> None:
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _WHO.items()}
    environment = processes.plain_environment(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", **who)
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


_WHO = {"NAME": "A", "EMAIL": "a@example.org"}
