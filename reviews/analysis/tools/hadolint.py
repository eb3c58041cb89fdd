"""Dockerfiles, by hadolint: what does not build, does not run as meant, or lets somebody in."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from reviews.analysis.tools.base import Diagnostic, ProgramTool, Text, number_of, program

SYNTAX = "DL1000"
_NAME = re.compile(r"(?:^|/)(?:Dockerfile|Containerfile)(?:\.[\w.-]+)?$|\.(?:dockerfile|containerfile)$", re.IGNORECASE)
_NOT_ONE = re.compile(r"\.(?:md|txt|json|ya?ml|py|j2|tmpl|template|erb|sh|dockerignore)$", re.IGNORECASE)
RULES = (
    SYNTAX, "DL3000", "DL3002", "DL3004", "DL3006", "DL3007", "DL3011", "DL3012", "DL3014", "DL3020", "DL3021",
    "DL3023", "DL3024", "DL3030", "DL3034", "DL3038", "DL3043", "DL3044", "DL3061", "DL4003", "DL4004",
    "SC1072", "SC1073", "SC2115", "SC2164", "SC2071", "SC2050",
)  # fmt: skip


class Hadolint(ProgramTool):
    name = "hadolint"

    def reads(self, path: str, first_line: str) -> bool:
        return bool(_NAME.search(path)) and not _NOT_ONE.search(path)

    def file_name(self, path: str) -> str:
        return "Dockerfile"

    def argv(self, folder: Path, names: Mapping[str, str]) -> list[str]:
        (folder / "switchyard.yaml").write_text("{}\n")
        return [
            program(self.name), "--config", "switchyard.yaml", "--no-fail", "--format", "json", "--", *names
        ]  # fmt: skip

    def parse(self, output: IO[bytes], texts: Mapping[str, Text]) -> Iterator[tuple[str, Diagnostic]]:
        for answer in json.load(output):
            rule = str(answer["code"])
            if rule in RULES:
                row = int(answer["line"])
                yield (
                    number_of(str(answer["file"])),
                    Diagnostic(rule, str(answer["message"]), row, int(answer["column"]), row),
                )
