"""Secrets in any text file: detect-secrets and patterns of our own. What was found is never shown."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from reviews.analysis import secret_patterns
from reviews.analysis.tools.base import Diagnostic, ProgramTool, Text

_NAMES = {
    "named-secret": "a value that looks like a secret",
    "private-key": "a private key",
    "password-in-url": "a password in a URL",
    "jwt": "a signed token (JWT)",
}


class Secrets(ProgramTool):
    name = "secrets"
    code = False

    def version(self) -> str:
        from detect_secrets.__version__ import VERSION

        return f"detect-secrets {VERSION} and patterns"

    def reads(self, path: str, first_line: str) -> bool:
        return True

    def argv(self, folder: Path, names: Mapping[str, str]) -> list[str]:
        asked = {"names": dict(names), "patterns": secret_patterns.borrowed()}
        (folder / "asked.json").write_text(json.dumps(asked))
        return [sys.executable, "-I", "-S", secret_patterns.__file__, str(folder)]

    def parse(self, output: IO[bytes], texts: Mapping[str, Text]) -> Iterator[tuple[str, Diagnostic]]:
        for line in output:
            answer = json.loads(line)
            kind, row, value = str(answer["kind"]), int(answer["row"]), str(answer["value"])
            what = _NAMES.get(kind) or f"what looks like a {kind.replace('-', ' ')}"
            message = (
                f"{what[:1].upper()}{what[1:]} is committed here: revoke it, and read it from outside the repository"
            )
            said = Diagnostic(
                f"secret/{kind}", message, row, int(answer["column"]), int(answer["end_row"]), secret=value
            )
            yield str(answer["file"]).split("/")[0], said
