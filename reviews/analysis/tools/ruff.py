"""Python: bugs and holes by ruff, never with a configuration of the repository."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reviews.analysis.tools.base import Diagnostic, Edit, ProgramTool, Text, number_of, program

RULES = ("S", "F", "E9", "B", "PLE", "ASYNC")
# What is a matter of taste, or true of code that is meant so; for passwords there is a tool of its own.
NOT_TOLD = (
    "B904",
    "B905",
    "B028",
    "B024",
    "B027",
    "S110",
    "S112",
    "S311",
    "S404",
    "S603",
    "S606",
    "S607",
    "B9",
    "B017",
    "S101",
    "S105",
    "S106",
    "S107",
    "F541",
    "F403",
    "F405",
    "ASYNC109",
)
SYNTAX = "invalid-syntax"
# The newest syntax is the most lenient: what only an older Python refuses is not ours to judge.
TARGET_VERSION = "py314"
SUFFIXES = (".py", ".pyi", ".pyw")


class Ruff(ProgramTool):
    name = "ruff"

    def reads(self, path: str, first_line: str) -> bool:
        return path.lower().endswith(SUFFIXES)

    def file_name(self, path: str) -> str:
        """The parts of a name on which ruff's rules depend."""
        name = path.rsplit("/", 1)[-1]
        if name in ("__init__.py", "__init__.pyi"):
            return name
        return "module.pyi" if name.endswith(".pyi") else "module.py"

    def argv(self, folder: Path, names: Mapping[str, str]) -> list[str]:
        return [
            program(self.name), "check", "--isolated", "--no-cache", "--no-fix", "--exit-zero", "--quiet",
            "--no-respect-gitignore", "--output-format", "json-lines", "--target-version", TARGET_VERSION,
            "--select", ",".join(RULES), "--ignore", ",".join(NOT_TOLD), "--", ".",
        ]  # fmt: skip

    def parse(self, output: IO[bytes], texts: Mapping[str, Text]) -> Iterator[tuple[str, Diagnostic]]:
        for line in output:
            if line.strip():
                answer = json.loads(line)
                yield number_of(str(answer["filename"])), _diagnostic(answer)


def _diagnostic(answer: dict[str, Any]) -> Diagnostic:
    start, end = answer["location"], answer["end_location"]
    # A range that ends at the first column does not reach into its last row.
    end_row = end["row"] - (1 if end["column"] == 1 and end["row"] > start["row"] else 0)
    rule = str(answer["code"] or SYNTAX)
    message = str(answer["message"])
    return Diagnostic(rule, message, start["row"], start["column"], end_row, fix=_fix(answer.get("fix")))


def _fix(answer: dict[str, Any] | None) -> tuple[Edit, ...]:
    if not answer or answer.get("applicability") != "safe":
        return ()
    return tuple(
        Edit(
            edit["location"]["row"],
            edit["location"]["column"],
            edit["end_location"]["row"],
            edit["end_location"]["column"],
            str(edit["content"] or ""),
        )
        for edit in answer["edits"]
    )
