"""In which order files are sent to a language model: what may do most harm first."""

import re
from collections.abc import Iterable, Iterator
from enum import IntEnum

from reviews.changes import ContentUnavailable, FileChange

# Above so many changed lines of one kind, no further file's lines are counted to sort it.
COUNTED_LINES = 50_000


class Risk(IntEnum):
    """The first is sent first."""

    SENSITIVE = 0
    SOURCE = 1
    SETTINGS = 2
    TESTS = 3
    DOCS = 4
    GENERATED = 5


_GENERATED = re.compile(
    r"(^|/)(vendor|node_modules|third_party|dist|__snapshots__|generated)/|[-.](min|bundle)\.(js|css)$|\.lock$"
    r"|(^|/)(package-lock\.json|pnpm-lock\.yaml|go\.sum|npm-shrinkwrap\.json|.*_pb2\.pyi?|.*\.pb\.go|.*\.snap)$"
    r"|\.(jsonl|csv|tsv|svg|map|ipynb|po|pot|xml|geojson|sum)$|[-_.]generated\."
)
_DOCS = re.compile(r"(^|/)(docs?|documentation)/|\.(md|rst|txt|adoc)$|(^|/)(LICENSE|NOTICE|AUTHORS|CHANGELOG)[^/]*$")
_TESTS = re.compile(
    r"(^|/)(tests?|testing|specs?|__tests__|e2e|fixtures)/|(^|/)(test_[^/]*|conftest\.py)$|[-_.](test|tests|spec)\.\w+$"
)
_SOURCE = re.compile(
    r"\.(py|pyi|pyw|js|jsx|mjs|cjs|ts|tsx|vue|svelte|go|rs|java|kt|kts|scala|groovy|rb|php|c|h|cc|cpp|cxx|hpp|hh|m|mm"
    r"|cs|fs|swift|dart|ex|exs|erl|hs|ml|clj|lua|pl|pm|r|jl|sh|bash|zsh|ps1|sql|sol|zig|html|jinja|j2|erb|proto)$"
)
_SENSITIVE = re.compile(
    r"auth|login|session|passw|crypt|secret|token|permission|access|acl|oauth|jwt|csrf|cors|sanitiz|escap|upload"
    r"|deserial|payment|billing|admin|migrations?/|\.sql$|webhook|sandbox|(^|/)\.github/workflows/|dockerfile"
)


def risk_of(path: str) -> Risk:
    lower = path.lower()
    if _GENERATED.search(lower):
        return Risk.GENERATED
    if _TESTS.search(lower):
        return Risk.TESTS
    if _DOCS.search(path) or _DOCS.search(lower):
        return Risk.DOCS
    if _SENSITIVE.search(lower):
        return Risk.SENSITIVE
    return Risk.SOURCE if _SOURCE.search(lower) else Risk.SETTINGS


def by_risk(files: Iterable[FileChange]) -> Iterator[FileChange]:
    """The riskiest first, and of one kind those with the most changed lines; each kind is sorted when it comes up."""
    kinds: dict[Risk, list[FileChange]] = {}
    for file in files:
        kinds.setdefault(risk_of(file.path), []).append(file)
    for risk in sorted(kinds):
        yield from _largest_first(kinds[risk])


def _largest_first(files: list[FileChange]) -> list[FileChange]:
    counted, total = [], 0
    for file in sorted(files, key=lambda file: file.path):
        lines = _changed_lines(file) if total < COUNTED_LINES else 0
        total += lines
        counted.append((lines, file))
    return [file for _, file in sorted(counted, key=lambda pair: -pair[0])]


def _changed_lines(file: FileChange) -> int:
    try:
        return sum(len(block.removed) + len(block.added) for block in file.blocks)
    except ContentUnavailable:
        return 0
