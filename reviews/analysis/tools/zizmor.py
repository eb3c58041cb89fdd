"""GitHub Actions, by zizmor without network: workflows that let an outsider run code or read secrets."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reviews.analysis.tools.base import Diagnostic, ProgramTool, Text, number_of, program

AUDITS = frozenset({
    "template-injection", "dangerous-triggers", "hardcoded-container-credentials", "github-env", "insecure-commands",
    "bot-conditions", "overprovisioned-secrets", "unredacted-secrets", "unsound-contains", "unsound-condition",
    "cache-poisoning", "excessive-permissions", "secrets-inherit", "unpinned-images",
})  # fmt: skip
_WORKFLOW = re.compile(r"(?:^|/)\.github/workflows/[^/]+\.ya?ml$")
_ACTION = re.compile(r"(?:^|/)action\.ya?ml$")
_CONFIDENT = ("Medium", "High")
_SEVERITY = {"High": "high", "Medium": "medium"}


class Zizmor(ProgramTool):
    name = "zizmor"
    # 11 to 14: the severity of what it found.
    ok_codes = (0, 11, 12, 13, 14)

    def reads(self, path: str, first_line: str) -> bool:
        return bool(_WORKFLOW.search(path) or _ACTION.search(path))

    def file_name(self, path: str) -> str:
        return ".github/workflows/file.yml" if _WORKFLOW.search(path) else "action.yml"

    def argv(self, folder: Path, names: Mapping[str, str]) -> list[str]:
        return [
            program(self.name), "--offline", "--no-config", "--no-progress", "--quiet", "--no-exit-codes",
            "--min-confidence", "medium", "--format", "json-v1", "--", *names,
        ]  # fmt: skip

    def parse(self, output: IO[bytes], texts: Mapping[str, Text]) -> Iterator[tuple[str, Diagnostic]]:
        for answer in json.load(output):
            confidence = answer["determinations"]["confidence"]
            if answer["ident"] in AUDITS and not answer["ignored"] and confidence in _CONFIDENT:
                number, said = _placed(answer)
                # That a workflow names no permissions is so common that it is no news.
                if answer["ident"] != "excessive-permissions" or "write-all" in said.message:
                    yield number, said


def _placed(answer: dict[str, Any]) -> tuple[str, Diagnostic]:
    places = answer["locations"]
    place = next((one for one in places if one["symbolic"]["kind"] == "Primary"), places[0])
    file = str(place["symbolic"]["key"]["Local"]["verbatim_path"]).removeprefix("./")
    start, end = (place["concrete"]["location"][name] for name in ("start_point", "end_point"))
    row = int(start["row"]) + 1
    # The last row is not reached into when the range ends at its first column.
    end_row = max(row, int(end["row"]) + (1 if end["column"] else 0))
    message = str(answer["desc"])
    severity = _SEVERITY.get(answer["determinations"]["severity"], "low")
    annotation = str(place["symbolic"].get("annotation") or "")
    said = f"{message}: {annotation}" if annotation and annotation not in message else message
    return number_of(file), Diagnostic(
        f"zizmor/{answer['ident']}", said, row, int(start["column"]) + 1, end_row, severity=severity
    )
