"""The text of a review, and of its comments on lines."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from reviews.changes import Change, FileChange
from reviews.models import PullRequestReview
from reviews.policy import ReviewSettings
from reviews.providers.base import FileCoverage, Finding, ReviewResult, Severity
from reviews.services.rendering import code, marker, plain
from reviews.services.selecting import Selection

MAX_BODY_CHARS = 60_000
MAX_MESSAGE_CHARS = 8_000
MAX_SUGGESTION_CHARS = 8_000
MAX_PATHS_A_REASON = 20
FINDING_MARK = "<!-- switchyard:finding:{} -->"

Mask = Callable[[str], str]


@dataclass(frozen=True)
class Outline:
    """What a review is told by. since: the head that was reviewed before, empty where there is none."""

    review: PullRequestReview
    change: Change
    result: ReviewResult
    selection: Selection
    settings: ReviewSettings
    mask: Mask
    title: str = ""
    since: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[FileCoverage, ...] = field(default=())

    @property
    def coverage(self) -> tuple[FileCoverage, ...]:
        return (*self.result.coverage, *self.skipped)


def comment(finding: Finding, file: FileChange | None, mask: Mask = str) -> dict[str, Any] | None:
    """The finding as a comment on its lines; None where GitHub would not take one there.

    Its lines must be shown by one hunk of the diff: for any other, GitHub refuses the whole review.
    """
    hunk = file.hunk_of(finding.line) if file is not None and file.anchored else None
    if hunk is None:
        return None
    last = min(finding.end_line, hunk.new.stop - 1)
    anchor: dict[str, Any] = {"path": finding.path, "line": last, "side": "RIGHT"}
    if finding.line < last:
        anchor |= {"start_line": finding.line, "start_side": "RIGHT"}
    parts = [heading(finding), plain(mask(finding.message[:MAX_MESSAGE_CHARS]))]
    if last == finding.end_line:
        parts += _suggestion(finding, mask)
    return {**anchor, "body": "\n\n".join([*parts, FINDING_MARK.format(finding.fingerprint[:64])])}


def heading(finding: Finding) -> str:
    return f"**{finding.severity.value}** {code(finding.rule)}"


def _suggestion(finding: Finding, mask: Mask) -> list[str]:
    """What GitHub offers to commit in place of the comment's lines; a masked one would break the code."""
    text = finding.suggestion
    if text is None or len(text) > MAX_SUGGESTION_CHARS or mask(text) != text:
        return []
    fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    return [f"{fence}suggestion\n{text.removesuffix(chr(10))}\n{fence}"]


def sort_findings(
    change: Change, findings: Sequence[Finding], mask: Mask = str
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """(comments on lines, findings that have no line in the diff)."""
    files = {file.path: file for file in change.files}
    comments: list[dict[str, Any]] = []
    elsewhere: list[Finding] = []
    for finding in findings:
        made = comment(finding, files.get(finding.path), mask)
        if made is None:
            elsewhere.append(finding)
        else:
            comments.append(made)
    return comments, elsewhere


def body(outline: Outline, elsewhere: Sequence[Finding]) -> str:
    """The review's text. elsewhere: the findings that have no comment of their own."""
    parts = [_opening(outline)]
    if outline.result.summary:
        parts += [plain(outline.mask(outline.result.summary[:MAX_MESSAGE_CHARS])), ""]
    parts += [_elsewhere(outline, found) for found in elsewhere]
    parts += ["", "---", "<br>\n".join(f"<sub>{line}</sub>" for line in footer(outline))]
    text = outline.mask("\n".join(parts))
    if len(text) > MAX_BODY_CHARS:
        text = text[:MAX_BODY_CHARS] + "\n\n… cut here: the text is too long for GitHub."
    return f"{text}\n{marker(outline.review)}"


def _elsewhere(outline: Outline, found: Finding) -> str:
    message = plain(outline.mask(found.message[:MAX_MESSAGE_CHARS]))
    return f"- {heading(found)} {code(f'{found.path}:{found.line}')}: {message}"


def _opening(outline: Outline) -> str:
    what = (
        f"what was pushed since {code(outline.since[:12])}"
        if outline.since
        else "the lines that this pull request changes"
    )
    count = len(outline.selection.told)
    left_out = _left_out(outline)
    if not count:
        return f"Nothing{' new' if outline.selection.known else ''} found in {what}{left_out}.\n"
    return f"{count} finding{'s' if count > 1 else ''} in {what}{left_out}.\n"


def _left_out(outline: Outline) -> str:
    """How many findings are not told though nobody knows of them, and by which setting; empty where there are none."""
    settings, left_out = outline.settings, outline.selection.left_out
    floor = Severity(settings.severity_floor).rank
    below = sum(finding.severity.rank > floor for finding in left_out)
    beyond = len(left_out) - below + outline.result.left_out
    reasons = [
        f"{beyond} left out beyond the budget of {settings.finding_budget}" if beyond else "",
        f"{below} left out below the severity floor, {settings.severity_floor}" if below else "",
    ]
    return "".join(f"; {reason}" for reason in reasons if reason)


def footer(outline: Outline) -> list[str]:
    """What was read, what was not and why, who reviewed, at what cost; a line each."""

    def said(text: str) -> str:
        return plain(outline.mask(text))  # in this order: a secret that is escaped is not known any more

    coverage, result = outline.coverage, outline.result
    read = sum(file.read for file in coverage)
    lines = [
        f"Read {read} of {len(coverage)} files at {code(outline.change.head[:12])}, {_by(outline)}; {_cost(result)}."
    ]
    if result.fallback:
        lines.append(
            f"{plain(outline.settings.provider)} did not review this: {said(result.fallback)}. "
            "What is told here is by the embedded reviewer."
        )
    if outline.selection.known:
        known = len(outline.selection.known)
        lines.append(f"{known} finding{'s' if known > 1 else ''} told or reviewed before, and not told again.")
    by_reason: dict[str, list[str]] = defaultdict(list)
    for file in coverage:
        if not file.read:
            by_reason[file.reason].append(file.path)
    for reason, paths in by_reason.items():
        named = ", ".join(code(path) for path in paths[:MAX_PATHS_A_REASON])
        more = f" and {len(paths) - MAX_PATHS_A_REASON} more" if len(paths) > MAX_PATHS_A_REASON else ""
        lines.append(f"Not read, {said(reason)}: {named}{more}.")
    remarks = [file for file in coverage if file.read and file.reason]
    lines += [f"{code(file.path)}: {said(file.reason)}." for file in remarks[:MAX_PATHS_A_REASON]]
    lines += [f"{said(note)}." for note in (*outline.change.notes, *result.notes, *outline.notes) if note]
    if outline.settings.source != ReviewSettings().source:
        lines.append(f"Settings: {plain(outline.settings.source)}.")
    return list(dict.fromkeys(lines))


def _by(outline: Outline) -> str:
    told = {found.provider for found in outline.selection.told}
    others = sorted(told - {outline.result.provider})
    also = f", with findings by {', '.join(plain(name) for name in others)}" if others else ""
    return f"by the {plain(outline.result.provider)} reviewer{also}"


def _cost(result: ReviewResult) -> str:
    if not result.requests and not result.cost_usd:
        return "no cost"
    cost = result.cost_usd.quantize(Decimal("0.0001"))
    return f"${cost} for {result.requests} request{'' if result.requests == 1 else 's'}"
