"""Keeps what a review found: findings with their state and the lines around them, and what was read."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from reviews import models
from reviews.analysis import secret_patterns
from reviews.analysis.secret_patterns import MASK
from reviews.changes import Block, Change, ContentUnavailable, FileChange, Hunk
from reviews.models import FindingState, PullRequestReview
from reviews.paths import PathPatterns
from reviews.providers.base import FileCoverage, Finding
from reviews.services.payloads import clean_text
from reviews.services.review_text import Outline

KEPT_UNREAD_FILES = 200
#: Of those that are not told.
KEPT_FINDINGS = 200
MAX_MESSAGE_CHARS = 20_000
_CONTEXT_LINES = 3
_MAX_HUNK_LINES = 40
_MAX_LINE_CHARS = 300
_MAX_READ_CHARS = 5_000


def store_findings(outline: Outline, elsewhere: Iterable[Finding]) -> None:
    """Keep what was found, in place of what an earlier attempt found; in the caller's transaction."""
    review, selection = outline.review, outline.selection
    unanchored = {id(finding) for finding in elsewhere}
    files = {file.path: file for file in outline.change.files}
    states = (
        (FindingState.NEW, selection.told),
        (FindingState.KNOWN, selection.known[:KEPT_FINDINGS]),
        (FindingState.LEFT_OUT, selection.left_out[:KEPT_FINDINGS]),
    )
    review.findings.all().delete()
    models.Finding.objects.bulk_create(
        _row(review, state, finding, files.get(finding.path), anchored=id(finding) not in unanchored)
        for state, findings in states
        for finding in findings
    )


def _row(
    review: PullRequestReview, state: FindingState, found: Finding, file: FileChange | None, *, anchored: bool
) -> models.Finding:
    told = state is FindingState.NEW
    return models.Finding(
        review=review,
        state=state,
        provider=found.provider[:64],
        path=clean_text(found.path),
        line=found.line,
        end_line=max(found.line, found.end_line),
        rule=clean_text(found.rule)[:64],
        message=clean_text(found.message)[:MAX_MESSAGE_CHARS],
        severity=found.severity.value,
        category=clean_text(found.category)[:32],
        source_line=clean_text(found.source_line),
        symbol=clean_text(found.symbol),
        hunk=clean_text(hunk_text(file, found)) if told and file is not None else "",
        suggestion=clean_text(found.suggestion or ""),
        fingerprint=found.fingerprint[:64],
        anchored=told and anchored,
    )


def review_fields(outline: Outline) -> dict[str, Any]:
    """Fields of the review's row: who reviewed, by which settings, what was found and read, at what cost."""
    result = outline.result
    return {
        "title": clean_text(outline.title)[:500],
        "provider": result.provider[:64],
        "finding_count": outline.selection.count + result.left_out,
        "coverage": coverage_of(outline),
        "cost_usd": result.cost_usd,
        "fallback": clean_text(result.fallback),
        "config": config_of(outline),
    }


def coverage_of(outline: Outline) -> dict[str, Any]:
    """As it is kept with the review."""
    coverage = outline.coverage
    unread = [file for file in coverage if not file.read]
    remarks = [file for file in coverage if file.read and file.reason]
    return {
        "files": len(coverage),
        "read": len(coverage) - len(unread),
        "not_read": [_entry(file) for file in unread[:KEPT_UNREAD_FILES]],
        "remarks": [_entry(file) for file in remarks[:KEPT_UNREAD_FILES]],
        "notes": [clean_text(note) for note in (*outline.result.notes, *outline.notes)],
        "known": len(outline.selection.known),
        "left_out": len(outline.selection.left_out) + outline.result.left_out,
    }


def _entry(file: FileCoverage) -> dict[str, str]:
    return {"path": clean_text(file.path), "reason": clean_text(file.reason)}


def config_of(outline: Outline) -> dict[str, Any]:
    """The settings that it was made with, as JSON."""
    used = outline.settings
    return {
        "provider": used.provider,
        "severity_floor": used.severity_floor,
        "finding_budget": used.finding_budget,
        "language": used.language,
        "excluded_paths": list(used.excluded_paths.patterns),
        "change_cap_usd": None if used.change_cap_usd is None else str(used.change_cap_usd),
        "daily_cap_usd": None if used.daily_cap_usd is None else str(used.daily_cap_usd),
        "source": used.source,
    }


def hunk_text(file: FileChange, found: Finding) -> str:
    """The lines of a finding and those around it, as a diff under `@@ +first,count @@`; empty where there are none."""
    try:
        hunk = file.hunk_of(found.line)
        head = file.head.load() if file.head is not None else b""
        first = max(found.line - _CONTEXT_LINES, hunk.new.start if hunk else 1)
        last = min(found.end_line + _CONTEXT_LINES, hunk.new.stop - 1 if hunk else found.end_line + _CONTEXT_LINES)
        rows = _without_secrets(list(_diff(file, hunk, head, first, min(last, first + _MAX_HUNK_LINES))), file.path)
    except ContentUnavailable:
        return ""
    count = sum(not row.startswith("-") for row in rows)
    return "\n".join([f"@@ +{first},{count} @@", *rows]) if rows else ""


def _without_secrets(rows: list[str], path: str) -> list[str]:
    """They stay as many: what is kept is shown to operators, and to a language model that is asked about it."""
    shown = "\n".join(row[1:] for row in rows)
    for found in reversed(secret_patterns.find(shown, path)):
        lines = shown[found.start : found.end].split("\n")
        shown = shown[: found.start] + "\n".join(MASK for _ in lines) + shown[found.end :]
    # Cut only now: half of a secret is not recognised.
    return [row[:1] + text[:_MAX_LINE_CHARS] for row, text in zip(rows, shown.split("\n"), strict=True)]


def _diff(file: FileChange, hunk: Hunk | None, head: bytes, first: int, last: int) -> Iterator[str]:
    lines = _without_keys(head.split(b"\n"), file.path)
    blocks = {block.added.start: block for block in (hunk.blocks if hunk else ()) if block.added}
    base = _base_lines(file) if any(first <= start <= last for start in blocks) else []
    for number in range(first, min(last, len(lines)) + 1):
        block = blocks.get(number)
        if block is not None:
            yield from _removed(block, base)
        sign = "+" if number in file.changed_lines else " "
        yield sign + _shown(lines[number - 1])


def _base_lines(file: FileChange) -> list[bytes]:
    try:
        return _without_keys(file.base.load().split(b"\n"), file.path) if file.base is not None else []
    except ContentUnavailable:
        return []


def _without_keys(lines: list[bytes], path: str) -> list[bytes]:
    """Without the lines of private keys, of which a hunk may show the middle alone."""
    rows = secret_patterns.key_rows(lines, path)
    return [MASK.encode() if number in rows else line for number, line in enumerate(lines, start=1)] if rows else lines


def _removed(block: Block, base: list[bytes]) -> Iterator[str]:
    for number in list(block.removed)[:_MAX_HUNK_LINES]:
        if number <= len(base):
            yield "-" + _shown(base[number - 1])


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")[:_MAX_READ_CHARS]


def without_excluded(change: Change, excluded: PathPatterns) -> tuple[Change, tuple[FileCoverage, ...]]:
    """The change without files that the settings exclude, and these."""
    skipped = tuple(file for file in change.files if excluded.matches(file.path))
    if not skipped:
        return change, ()
    kept = tuple(file for file in change.files if not excluded.matches(file.path))
    coverage = (FileCoverage(file.path, read=False, reason="excluded by the settings") for file in skipped)
    return replace(change, files=kept), tuple(coverage)
