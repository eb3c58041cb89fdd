"""Providers and changes for tests of language models."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from reviews.changes import Block, Change, FileChange, FileKind, FileStatus, Hunk, Side, whole_file
from reviews.models import LlmKind, LlmProvider
from reviews.tests.llm_standin import KEY, MODEL, LlmStandin


def provider_at(standin: LlmStandin, kind: str = "anthropic", **values: Any) -> LlmProvider:
    """A provider whose API is the stand-in, at 2 and 10 dollars a million."""
    url = standin.url if kind == LlmKind.ANTHROPIC else f"{standin.url}/v1"
    fields: dict[str, Any] = {
        "name": f"test-{kind}",
        "kind": kind,
        "model": MODEL,
        "base_url": url,
        "api_key": KEY,
        "input_usd_per_million": Decimal(2),
        "cached_usd_per_million": Decimal("0.2"),
        "output_usd_per_million": Decimal(10),
        "requests_per_minute": 10_000,
    }
    row = LlmProvider.objects.create(**{**fields, **values})
    row.refresh_from_db()
    return row


def added(path: str, text: str) -> FileChange:
    content = text.encode()
    side = Side(FileKind.REGULAR, lambda: content)
    return FileChange(path, FileStatus.ADDED, None, side, lambda: whole_file(content))


def modified(path: str, before: str, after: str, *hunks: Hunk) -> FileChange:
    sides = [Side(FileKind.REGULAR, _load(text)) for text in (before, after)]
    return FileChange(path, FileStatus.MODIFIED, sides[0], sides[1], lambda: hunks)


def _load(text: str) -> Callable[[], bytes]:
    return text.encode


def hunk(old: range, new: range, *blocks: tuple[range, range]) -> Hunk:
    return Hunk(old, new, tuple(Block(*block) for block in blocks))


def change_of(*files: FileChange) -> Change:
    return Change(base="b" * 40, head="a" * 40, files=files)


def found(path: str, line: int, code: str, **values: Any) -> dict[str, Any]:
    """A finding as a model answers it."""
    fields: dict[str, Any] = {
        "path": path,
        "line": line,
        "end_line": line,
        "code": code,
        "severity": "high",
        "category": "bug",
        "message": "The index is one too large, so the last round raises IndexError.",
        "suggestion": None,
        "confidence": 0.9,
    }
    return {**fields, **values}


def review_of(*findings: dict[str, Any], summary: str = "Adds a loop.") -> dict[str, Any]:
    return {"summary": summary, "findings": list(findings)}
