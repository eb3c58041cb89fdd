"""Patterns of our own over syntax trees of Python, JavaScript, TypeScript and Go, by ast-grep; see ../rules/."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reviews.analysis.tools.base import Diagnostic, Edit, ProgramTool, Text, number_of, program

RULES_FOLDER = Path(__file__).resolve().parents[1] / "rules"
SUFFIXES = (".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".go")
_SEVERITY = {"error": "high", "warning": "medium"}


class AstGrep(ProgramTool):
    name = "ast-grep"
    ok_codes = (0, 1)

    def reads(self, path: str, first_line: str) -> bool:
        return path.lower().endswith(SUFFIXES)

    def argv(self, folder: Path, names: Mapping[str, str]) -> list[str]:
        # One grammar for all of JavaScript and TypeScript, so that each rule is written once.
        globs = {"tsx": ["*.js", "*.mjs", "*.cjs", "*.jsx", "*.ts", "*.mts", "*.cts"]}
        settings = {"ruleDirs": [str(RULES_FOLDER)], "languageGlobs": globs}
        (folder / "sgconfig.yml").write_text(json.dumps(settings))
        return [
            program(self.name), "scan", "--config", "sgconfig.yml", "--no-ignore", "hidden", "--json=stream", "."
        ]  # fmt: skip

    def parse(self, output: IO[bytes], texts: Mapping[str, Text]) -> Iterator[tuple[str, Diagnostic]]:
        for line in output:
            answer = json.loads(line)
            yield number_of(str(answer["file"])), _diagnostic(answer)


def _diagnostic(answer: dict[str, Any]) -> Diagnostic:
    start, end = answer["range"]["start"], answer["range"]["end"]
    row, end_row = int(start["line"]) + 1, int(end["line"]) + 1
    fix: tuple[Edit, ...] = ()
    if isinstance(answer.get("replacement"), str):
        fix = (Edit(row, int(start["column"]) + 1, end_row, int(end["column"]) + 1, answer["replacement"]),)
    return Diagnostic(
        f"switchyard/{answer['ruleId']}",
        str(answer["message"]),
        row,
        int(start["column"]) + 1,
        end_row,
        severity=_SEVERITY.get(str(answer["severity"]), "low"),
        fix=fix,
    )
