"""Runs ty over files of a tree: nothing of the repository is run, and none of its settings applies.

ty is told of an environment in which nothing is installed, so that other people's packages are unknown, which it takes
for anything; only what the repository itself defines is judged. Source: `ty check --help` of 0.0.105.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reviews.analysis import sandbox
from reviews.analysis.tools.base import ToolFailed, program

PYTHON_VERSION = "3.14"
# Of high precision without knowledge of other packages; by the names of the pinned version.
RULES = (
    "missing-argument",
    "unknown-argument",
    "too-many-positional-arguments",
    "unresolved-reference",
    "missing-module-member",
    "missing-attribute",
    "import-not-found",
)
LIMITS = sandbox.Limits(wall_seconds=40.0, cpu_seconds=80, memory_bytes=4096 * sandbox.MEGABYTE)


@dataclass(frozen=True)
class Broken:
    """One thing that ty says. path: in the tree; row: from 1."""

    path: str
    rule: str
    message: str
    row: int


def check(tree: Path, paths: Sequence[str]) -> list[Broken]:
    """What ty says of files in a tree. Raises ToolFailed."""
    roots = ["./src", "."] if (tree / "src").is_dir() else ["."]
    with sandbox.folder() as own, tempfile.TemporaryFile() as output:
        _empty_environment(own / "env")
        # JSON strings are TOML strings.
        listed = ", ".join(json.dumps(str((tree / root).resolve())) for root in roots)
        (own / "ty.toml").write_text(f'[environment]\npython-version = "{PYTHON_VERSION}"\nroot = [{listed}]\n')
        argv = [
            program("ty"), "check", "--config-file", str(own / "ty.toml"), "--python", str(own / "env"),
            "--output-format", "gitlab", "--exit-zero", "--ignore", "all",
            *(part for rule in RULES for part in ("--error", rule)), "--", *paths,
        ]  # fmt: skip
        try:
            ran = sandbox.run(argv, cwd=tree, stdout=output, limits=LIMITS, environment={"HOME": str(own)})
        except sandbox.SandboxFailed as exc:
            raise ToolFailed(str(exc)) from None
        if ran.code:
            raise ToolFailed(f"ty ended with {ran.code}")
        return _parsed(output.read())


def _empty_environment(folder: Path) -> None:
    (folder / "lib" / f"python{PYTHON_VERSION}" / "site-packages").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "pyvenv.cfg").write_text(f"home = {folder / 'bin'}\nversion = {PYTHON_VERSION}.0\n")


def _parsed(output: bytes) -> list[Broken]:
    try:
        return [
            Broken(
                path=str(answer["location"]["path"]),
                rule=str(answer["check_name"]),
                message=str(answer["description"]).removeprefix(f"{answer['check_name']}: "),
                row=int(answer["location"]["positions"]["begin"]["line"]),
            )
            for answer in json.loads(output or b"[]")
            if answer["check_name"] in RULES
        ]
    except (ValueError, KeyError, TypeError):
        raise ToolFailed("the answer of ty cannot be read") from None
