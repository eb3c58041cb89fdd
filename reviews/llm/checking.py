"""What of a language model's answer is believed: only what stands on changed lines, and says what it is about."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from reviews.analysis.source import Source
from reviews.changes import ContentUnavailable, FileChange, LineRanges
from reviews.llm.schema import FoundByLlm
from reviews.providers.base import Finding, Severity

MAX_FINDINGS = 50
MAX_MESSAGE_CHARACTERS = 1500
MAX_SUGGESTION_LINES = 60
MAX_SUMMARY_CHARACTERS = 600
# How alike two messages are by their words, from 0 to 1, to be about the same thing.
SAME_WORDS = 0.3

OUT_OF_DIFF, INVENTED, TOO_LONG, UNSURE, TOO_MANY, TWICE = (
    "outside of the changed lines",
    "about code that is not there",
    "empty or too long",
    "of which the model is not sure",
    "beyond fifty in one answer",
    "that the embedded reviewer has too",
)


@dataclass
class File:
    """A file of the change, with its text at head."""

    change: FileChange

    @cached_property
    def source(self) -> Source:
        try:
            content = self.change.head.load() if self.change.head is not None else b""
        except ContentUnavailable:
            content = b""
        return Source(content.decode("utf-8", "replace"))

    @cached_property
    def changed(self) -> LineRanges:
        try:
            return self.change.changed_lines
        except ContentUnavailable:
            return LineRanges(())


@dataclass
class Checked:
    """Findings that are believed, and how many of the others were dropped for which reason."""

    findings: list[Finding] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def notes(self) -> tuple[str, ...]:
        told = [f"{count} {reason}" for reason, count in self.dropped.most_common() if reason != TWICE]
        return (f"findings of the language model that were dropped: {', '.join(told)}",) if told else ()


class Checker:
    """Checks answers about one change. sent: path → the lines that were shown to the model."""

    def __init__(self, files: Iterable[FileChange], provider: str, min_confidence: float) -> None:
        self._files = {file.path: File(file) for file in files}
        self._provider, self._min_confidence = provider, min_confidence

    def check(self, answered: Sequence[FoundByLlm], checked: Checked) -> None:
        for found in answered[:MAX_FINDINGS]:
            finding = self._finding(found)
            if isinstance(finding, Finding):
                checked.findings.append(finding)
            else:
                checked.dropped[finding] += 1
        if len(answered) > MAX_FINDINGS:
            checked.dropped[TOO_MANY] += len(answered) - MAX_FINDINGS

    def _finding(self, found: FoundByLlm) -> Finding | str:
        """The finding, or the reason to drop it."""
        message = one_text(found.message)
        if not message or len(message) > MAX_MESSAGE_CHARACTERS:
            return TOO_LONG
        if found.confidence < self._min_confidence:
            return UNSURE
        file = self._files.get(found.path) or self._files.get(found.path.strip().removeprefix("b/").removeprefix("./"))
        if file is None:
            return OUT_OF_DIFF
        lines = _lines(file, found)
        if isinstance(lines, str):
            return lines
        return self._made(file, found, lines, message)

    def _made(self, file: File, found: FoundByLlm, lines: range, message: str) -> Finding:
        rule, line = f"llm/{found.category}", file.source.line(lines.start)
        symbol = file.source.symbol(lines.start)
        asked = range(found.line, max(found.line, found.end_line) + 1)
        suggestion = found.suggestion if lines == asked else None
        return Finding(
            path=file.change.path,
            line=lines.start,
            end_line=lines.stop - 1,
            rule=rule,
            message=message,
            severity=Severity(found.severity),
            source_line=line[:300],
            symbol=symbol,
            fingerprint=fingerprint(rule, line, symbol),
            suggestion=_suggestion(file, lines, suggestion),
            category=found.category,
            provider=self._provider,
            confidence=found.confidence,
        )


def _lines(file: File, found: FoundByLlm) -> range | str:
    """The changed lines that are meant, all in one run of them; or why there are none.

    A model counts wrong now and then: then the line is found by its text, if that stands on one changed line alone.
    """
    first, last = found.line, max(found.line, found.end_line)
    code = " ".join(found.code.split())
    start = file.changed.first_within(first, last)
    if code and (start is None or not _says(file, range(first, last + 1), code)):
        alike = [row for row in file.changed if file.source.line(row) == code]
        if len(alike) != 1:
            return OUT_OF_DIFF if start is None else INVENTED
        start, last = alike[0], alike[0] + (last - first)
    if start is None:
        return OUT_OF_DIFF
    run = file.changed.range_of(start)
    assert run is not None
    return range(start, min(last, run.stop - 1) + 1)


def _says(file: File, rows: range, code: str) -> bool:
    """Whether one of the lines, of which there may be many, has the text that was quoted."""
    known = rows[: MAX_SUGGESTION_LINES * 5]
    return any(line == code or (len(code) > 20 and code in line) for line in map(file.source.line, known))


def _suggestion(file: File, lines: range, text: str | None) -> str | None:
    """Code for exactly these lines; None where it is none, changes nothing or is too long."""
    if text is None or not all(char.isprintable() or char in "\n\t" for char in text):
        return None
    text = text.removesuffix("\n")
    rows = text.split("\n")
    before = [file.source.lines[row - 1].rstrip("\r") for row in lines]
    return None if len(rows) > MAX_SUGGESTION_LINES or rows == before or "```" in text else text


def fingerprint(rule: str, line: str, symbol: str) -> str:
    """As of the embedded reviewer's findings: of rule, source line and enclosing symbol."""
    return hashlib.sha256("\0".join((rule, line, symbol)).encode("utf-8", "replace")).hexdigest()[:32]


def one_text(text: str) -> str:
    """Words without line breaks and control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def merged(embedded: Sequence[Finding], checked: Checked) -> tuple[Finding, ...]:
    """Both reviewers' findings, each problem once, the most severe first.

    What the embedded reviewer has too stays its finding, with the model's suggestion where it offers none itself.
    """
    kept = dict(enumerate(embedded))
    of_path: dict[str, list[int]] = {}
    for index, finding in kept.items():
        of_path.setdefault(finding.path, []).append(index)
    further: dict[tuple[str, str], Finding] = {}
    for finding in checked.findings:
        same = next((index for index in of_path.get(finding.path, ()) if _is_same(kept[index], finding)), None)
        if same is not None:
            checked.dropped[TWICE] += 1
            kept[same] = _with_suggestion(kept[same], finding)
        else:
            before = further.get((finding.path, finding.fingerprint))
            if before is None or finding.confidence > before.confidence:
                further[finding.path, finding.fingerprint] = finding
    together = [*kept.values(), *further.values()]
    return tuple(sorted(together, key=lambda found: (found.severity.rank, found.path, found.line, found.rule)))


def _is_same(embedded: Finding, finding: Finding) -> bool:
    if embedded.line > finding.end_line or finding.line > embedded.end_line:
        return False
    if embedded.category and embedded.category == finding.category:
        return True
    return embedded.rule.lower() in finding.message.lower() or _alike(embedded.message, finding.message) >= SAME_WORDS


def _alike(one: str, other: str) -> float:
    words, others = ({word for word in text.lower().split() if len(word) > 3} for text in (one, other))
    return len(words & others) / min(len(words), len(others)) if words and others else 0.0


def _with_suggestion(embedded: Finding, finding: Finding) -> Finding:
    fits = (embedded.line, embedded.end_line) == (finding.line, finding.end_line)
    return replace(embedded, suggestion=finding.suggestion) if fits and embedded.suggestion is None else embedded


def withheld_lines(evidence: Iterable[Finding]) -> Mapping[str, frozenset[int]]:
    """Lines with a secret in them, by path: they are not sent to anybody."""
    lines: dict[str, set[int]] = {}
    for found in evidence:
        if "secret" in found.category.lower() or "secret" in found.rule.lower():
            lines.setdefault(found.path, set()).update(range(found.line, found.end_line + 1))
    return {path: frozenset(rows) for path, rows in lines.items()}
