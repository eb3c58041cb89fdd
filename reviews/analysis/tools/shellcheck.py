"""Shell scripts, by name or shebang, by ShellCheck: errors and warnings that are rarely meant so."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reviews.analysis.tools.base import Diagnostic, Edit, ProgramTool, Text, number_of, program

SUFFIXES = (".sh", ".bash", ".dash", ".ksh", ".bats")
SYNTAX = ("SC1072",)
_SHEBANG = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-S\s+)?)?(?:\S*/)?(sh|bash|dash|ksh|bats)(?:\s|$)")
_OTHER_SHELL = re.compile(r"#!.*\b(zsh|fish|csh|tcsh|python[\d.]*|perl|ruby|node)\b")
_UNPARSED = 1073
# Of other files (not read), of variables that come from them, of taste.
NOT_TOLD = (1017, 1071, 1090, 1091, 2034, 2046, 2148, 2154, 2155, 2162, 2206, 2207, 2230)


class ShellCheck(ProgramTool):
    name = "shellcheck"
    ok_codes = (0, 1)

    def reads(self, path: str, first_line: str) -> bool:
        if _OTHER_SHELL.match(first_line):
            return False
        return path.lower().endswith(SUFFIXES) or bool(_SHEBANG.match(first_line))

    def argv(self, folder: Path, names: Mapping[str, str]) -> list[str]:
        excluded = ",".join(f"SC{code}" for code in NOT_TOLD)
        return [
            program(self.name), "--norc", "--severity=warning", f"--exclude={excluded}", "--format=json1", "--", *names
        ]  # fmt: skip

    def parse(self, output: IO[bytes], texts: Mapping[str, Text]) -> Iterator[tuple[str, Diagnostic]]:
        by_file: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for answer in json.load(output)["comments"]:
            by_file[number_of(str(answer["file"]))].append(answer)
        for number, answers in by_file.items():
            for answer in _syntax_once(answers):
                yield number, _diagnostic(answer)


def _syntax_once(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A parser that stops says where (SC1072), and in other codes why: one thing to tell."""
    stops = [answer for answer in answers if f"SC{answer['code']}" in SYNTAX]
    if not stops:
        return answers
    why = next((answer for answer in answers if answer["level"] == "error" and answer not in stops), stops[0])
    begun = next((answer for answer in answers if answer["code"] == _UNPARSED), stops[0])
    return [{**begun, "code": stops[0]["code"], "message": why["message"], "fix": None}]


def _diagnostic(answer: dict[str, Any]) -> Diagnostic:
    return Diagnostic(
        f"SC{answer['code']}",
        str(answer["message"]),
        int(answer["line"]),
        int(answer["column"]),
        int(answer["endLine"]),
        fix=_fix(answer.get("fix")),
    )


def _fix(answer: dict[str, Any] | None) -> tuple[Edit, ...]:
    if not answer:
        return ()
    return tuple(
        Edit(edit["line"], edit["column"], edit["endLine"], edit["endColumn"], str(edit["replacement"]))
        for edit in answer["replacements"]
    )
