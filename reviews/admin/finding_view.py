"""A finding beside the lines that it speaks of: numbered, changed ones marked, and its suggestion as a diff."""

import difflib
import re
from dataclasses import dataclass
from typing import Any

from jobs.admin import show
from jobs.admin.service_pages import spelled
from reviews.admin.common import SEVERITIES, at_github
from reviews.models import Finding, FindingState, PullRequestReview
from reviews.services.dismissing import OPEN

MAX_LINES = 200
MAX_LINE_CHARS = 400
_START = re.compile(r"@@ (?:-[0-9,]+ )?\+([0-9]{1,9})")
_KINDS = {"+": "added", "-": "removed", " ": ""}
STATE_PILLS = {
    FindingState.NEW: "running",
    FindingState.POSTED: "running",
    FindingState.RESOLVED: "good",
    FindingState.DISMISSED: "quiet",
    FindingState.KNOWN: "quiet",
    FindingState.LEFT_OUT: "quiet",
}
STATE_WORDS = {
    FindingState.NEW: "not posted yet",
    FindingState.KNOWN: "told before",
    FindingState.LEFT_OUT: "left out",
}


@dataclass(frozen=True)
class Line:
    """number: in the new file; None for a removed line. kind: added, removed, or nothing. meant: of the finding."""

    number: int | None
    kind: str
    text: str
    meant: bool = False

    @property
    def sign(self) -> str:
        return {"added": "+", "removed": "-"}.get(self.kind, " ")

    @property
    def classes(self) -> str:
        names = [f"sy-{self.kind}"] if self.kind else []
        return " ".join([*names, *(["sy-meant"] if self.meant else [])])


def hunk_lines(finding: Finding) -> list[Line]:
    """The stored lines around a finding, with their numbers where these are known."""
    if not finding.hunk:
        return []
    rows = finding.hunk.split("\n")
    start = _START.match(rows[0])
    number = int(start[1]) if start else _first_number(finding, rows)
    lines: list[Line] = []
    for row in rows[1:] if start else rows:
        kind = _KINDS.get(row[:1], "")
        if kind == "removed" or number is None:
            lines.append(Line(None, kind, visible(row[1:])))
            continue
        lines.append(Line(number, kind, visible(row[1:]), finding.line <= number <= finding.end_line))
        number += 1
    return lines[:MAX_LINES]


def _first_number(finding: Finding, rows: list[str]) -> int | None:
    """Of a hunk that does not tell where it begins: by the line that the finding names."""
    kept = [row[1:] for row in rows if not row.startswith("-")]
    for above in (3, 2, 1, 0):
        if above < min(len(kept), finding.line) and kept[above].strip() == finding.source_line.strip()[:300]:
            return finding.line - above
    return None


def suggestion_lines(finding: Finding) -> list[Line]:
    """What the suggestion changes of the finding's lines, as a diff; without these, just what it would put there."""
    if not finding.suggestion:
        return []
    now = [line.text for line in hunk_lines(finding) if line.meant]
    then = [visible(text) for text in finding.suggestion.rstrip("\n").split("\n")]
    lines: list[Line] = []
    number = finding.line
    for row in difflib.ndiff(now, then):
        if row.startswith("?"):
            continue
        kind = _KINDS.get(row[:1], "")
        lines.append(Line(None if kind == "removed" else number, kind, row[2:]))
        number += kind != "removed"
    return lines[:MAX_LINES]


def visible(text: str) -> str:
    """A line of code, cut where it is long; see `spelled`."""
    return spelled(text[:MAX_LINE_CHARS]) + ("…" if len(text) > MAX_LINE_CHARS else "")


def shown_finding(review: PullRequestReview, finding: Finding, *, may_close: bool) -> dict[str, Any]:
    state = FindingState(finding.state)
    where = f"{finding.line}" if finding.line == finding.end_line else f"{finding.line}–{finding.end_line}"
    comment = ""
    if finding.comment_id:
        path = f"pull/{review.number}#discussion_r{finding.comment_id}"
        comment = at_github(review.repository, path, "its comment")
    return {
        "finding": finding,
        "severity": show.pill(finding.severity, SEVERITIES.get(finding.severity, "quiet")),
        "state": show.pill(STATE_WORDS.get(state, state.value), STATE_PILLS[state]),
        "rule": spelled(finding.rule),
        "place": f"{visible(finding.path)}:{where}",
        "message": spelled(show.block(finding.message)),
        "by": finding.closed_by if state in (FindingState.RESOLVED, FindingState.DISMISSED) else "",
        "posted": "" if finding.anchored or state not in OPEN else "in the review's text, not on its line",
        "comment": comment,
        "lines": hunk_lines(finding),
        "suggestion": suggestion_lines(finding),
        "may_resolve": may_close and state in OPEN,
        "may_dismiss": may_close and state in (*OPEN, FindingState.RESOLVED),
    }
