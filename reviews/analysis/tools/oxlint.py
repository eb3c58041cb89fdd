"""JavaScript and TypeScript: what is outright wrong, by oxlint, which needs no Node and runs no configuration."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reviews.analysis.tools.base import Diagnostic, ProgramTool, Text, number_of, program

SYNTAX = "oxlint/syntax"
SUFFIXES = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx")
_FLOW = re.compile(r"@flow\b|@noflow\b")
_CODE = re.compile(r"([\w-]+)\((.+)\)")

RULES = (
    *(f"eslint/{name}" for name in (
        "constructor-super", "for-direction", "getter-return", "no-async-promise-executor", "no-class-assign",
        "no-compare-neg-zero", "no-cond-assign", "no-const-assign", "no-constant-binary-expression", "no-debugger",
        "no-delete-var", "no-dupe-class-members", "no-dupe-else-if", "no-dupe-keys", "no-duplicate-case",
        "no-empty-character-class", "no-empty-pattern", "no-eval", "no-implied-eval", "no-ex-assign", "no-func-assign",
        "no-global-assign", "no-import-assign", "no-invalid-regexp", "no-loss-of-precision",
        "no-misleading-character-class", "no-new-native-nonconstructor", "no-nonoctal-decimal-escape", "no-obj-calls",
        "no-self-assign", "no-setter-return", "no-sparse-arrays", "no-this-before-super", "no-unreachable",
        "no-unsafe-finally", "no-unsafe-negation", "no-unsafe-optional-chaining", "no-useless-backreference", "no-with",
        "require-yield", "use-isnan", "valid-typeof", "no-unmodified-loop-condition", "no-unexpected-multiline",
    )),
    *(f"oxc/{name}" for name in (
        "bad-array-method-on-arguments", "bad-char-at-comparison", "bad-comparison-sequence", "bad-match-all-arg",
        "bad-min-max-func", "bad-object-literal-comparison", "bad-replace-all-arg", "const-comparisons",
        "double-comparisons", "erasing-op", "missing-throw", "number-arg-out-of-range", "uninvoked-array-callback",
        "misrefactored-assign-op",
    )),
    *(f"typescript/{name}" for name in (
        "no-duplicate-enum-values", "no-extra-non-null-assertion", "no-misused-new",
        "no-non-null-asserted-optional-chain", "no-unsafe-declaration-merging",
    )),
    *(f"react/{name}" for name in (
        "jsx-no-duplicate-props", "jsx-no-undef", "no-children-prop", "no-danger-with-children",
        "no-direct-mutation-state", "void-dom-elements-no-children", "jsx-no-script-url", "style-prop-object",
    )),
    *(f"unicorn/{name}" for name in (
        "no-await-in-promise-methods", "no-invalid-fetch-options", "no-invalid-remove-event-listener",
        "no-array-fill-with-reference-type",
    )),
)  # fmt: skip


class Oxlint(ProgramTool):
    name = "oxlint"
    ok_codes = (0, 1)

    def reads(self, path: str, first_line: str) -> bool:
        return path.lower().endswith(SUFFIXES)

    def argv(self, folder: Path, names: Mapping[str, str]) -> list[str]:
        settings = {
            "plugins": ["oxc", "typescript", "react", "unicorn"],
            "categories": {"correctness": "off"},
            "rules": dict.fromkeys(RULES, "error"),
        }
        (folder / "switchyard.json").write_text(json.dumps(settings))
        return [
            program(self.name), "--config", "switchyard.json", "--disable-nested-config", "--no-ignore", "--threads=2",
            "--no-error-on-unmatched-pattern", "--format", "json", *sorted({name.split("/")[0] for name in names}),
        ]  # fmt: skip

    def parse(self, output: IO[bytes], texts: Mapping[str, Text]) -> Iterator[tuple[str, Diagnostic]]:
        contents: dict[str, bytes] = {}
        for answer in json.load(output)["diagnostics"]:
            number = number_of(str(answer["filename"]))
            text = texts[number].text
            code = _CODE.fullmatch(str(answer.get("code") or ""))
            if code is None and _FLOW.search(text[:2000]):
                continue  # another language, by the same suffix
            content = contents.setdefault(number, text.encode("utf-8", "replace"))
            yield number, _diagnostic(answer, f"{code[1]}/{code[2]}" if code else SYNTAX, content)


def _diagnostic(answer: dict[str, Any], rule: str, content: bytes) -> Diagnostic:
    labels = answer.get("labels") or []
    # Of two labels, as for a key that is there twice, the last is the one to look at.
    span = labels[-1]["span"] if labels else {"offset": 0, "length": 0, "line": 1, "column": 1}
    start = int(span["offset"])
    end_row = int(span["line"]) + content.count(b"\n", start, start + max(0, int(span["length"]) - 1))
    message = str(answer["message"])
    advice = str(answer.get("help") or "")
    said = f"{message}: {advice[:1].lower()}{advice[1:]}" if advice and len(advice) < 150 else message
    return Diagnostic(rule, said, int(span["line"]), int(span["column"]), end_row)
