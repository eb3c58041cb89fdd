"""The reviewer that needs no network: analysers over base and head, and only what is new on changed lines."""

from collections.abc import Sequence

from reviews import suggestions
from reviews.analysis import eligibility, type_breaks
from reviews.analysis.comparison import (
    BREAKS_THE_FILE,
    Compared,
    MovedKey,
    Observation,
    anchor_of,
    key_of,
    new_observations,
    observation,
    undecodable_observation,
)
from reviews.analysis.duplicates import without_duplicates
from reviews.analysis.running import Reading, Said, batches, run_tools
from reviews.analysis.severity import category_of, severity_of
from reviews.analysis.tools import TOOLS
from reviews.analysis.tools.base import Tool
from reviews.changes import Change, ContentUnavailable, FileChange, FileKind, FileStatus, LineRanges, Side
from reviews.providers.base import Brief, FileCoverage, Finding, Report, ReviewResult, Severity, report_nothing

MAX_OBSERVATIONS_A_FILE = 20_000


class EmbeddedReviewer:
    name = "embedded"

    def __init__(self, tools: Sequence[Tool] = TOOLS) -> None:
        self._tools = tools

    def review(self, change: Change, report: Report = report_nothing, brief: Brief | None = None) -> ReviewResult:
        brief = brief or Brief()
        reading = Reading()
        for file in change.files:
            reason = eligibility.why_not_loaded(file, brief.settings.excluded_paths)
            if reason:
                reading.reasons[file.path] = reason
            else:
                reading.files[file.path] = Compared(file)
        self._read_heads(reading, report)
        if any(file.head for file in reading.files.values()):
            self._read_bases(reading, report)
        found, edits = self._findings(reading)
        report(0.85, "types across files")
        broken = type_breaks.breaks(change, brief.trees, excluded=brief.settings.excluded_paths)
        found = without_duplicates(sorted([*found, *broken.findings], key=_order))
        report(0.95, "suggestions")
        found = suggestions.verify(change, suggestions.offer(change, found, edits))
        report(1.0, f"{len(found)} findings")
        return ReviewResult(
            provider=self.name,
            findings=tuple(found),
            left_out=0,
            coverage=tuple(_coverage(file, reading) for file in change.files),
            notes=(*change.notes, *_failures(reading), *broken.notes),
        )

    def _read_heads(self, reading: Reading, report: Report) -> None:
        files = [file for file in reading.files.values() if file.change.head is not None]
        done = 0
        for batch in batches(files, lambda file: (file.change.head, file.change.path), reading):
            for text in batch:
                if text.undecodable is not None and (changed := _changed_lines(text.file, reading)) is not None:
                    reading.remark(text.file.change.path, f"read with replacements: {text.undecodable.message}")
                    text.file.head.append(undecodable_observation(text.undecodable, changed))
            for said in run_tools(self._tools, batch, reading):
                _observe_heads(said, reading)
            done += len(batch)
            report(0.5 * done / len(files), f"{done} of {len(files)} files read")

    def _read_bases(self, reading: Reading, report: Report) -> None:
        """Read every base, also of files without a candidate: code that moved is told by where it is gone from."""
        known = [file for file in reading.files.values() if file.change.path not in reading.reasons]
        files = sorted(known, key=lambda file: not file.head)
        moved_keys = frozenset(seen.moved_key for file in known for seen in file.head if not seen.breaks_the_file)
        speaking = {seen.tool for file in known for seen in file.head}
        tools = [tool for tool in self._tools if tool.name in speaking]
        done = 0
        unread = Reading()
        for batch in batches(files, _base_of, unread):
            for text in batch:
                first = [] if text.undecodable is None else [undecodable_observation(text.undecodable)]
                text.file.base = first
            for said in run_tools(tools, batch, unread):
                _observe_bases(said, moved_keys, unread)
            done += len(batch)
            report(0.5 + 0.35 * done / len(files), f"{done} of {len(files)} files compared with base")
        _forget_incomparable(reading, unread)

    def _findings(self, reading: Reading) -> tuple[list[Finding], suggestions.Edits]:
        """All of them, and what the tools would do about them."""
        for path in reading.reasons:
            reading.files.pop(path, None)
        new = new_observations(list(reading.files.values()))
        for path, compared in reading.files.items():
            if path in reading.cut:
                only = f"only the first {MAX_OBSERVATIONS_A_FILE:,} findings on its changed lines were looked at"
                reading.remark(path, f"not read in full: {only}")
            if any(seen.breaks_the_file for seen in compared.head):
                reading.remark(path, "does not parse, so most rules could not look at it")
            elif compared.base and any(seen.breaks_the_file for seen in compared.base):
                reading.remark(path, "did not parse at base, so all of its changed lines count as new")
        findings: list[Finding] = []
        edits: suggestions.Edits = {}
        order = {tool.name: number for number, tool in enumerate(self._tools)}
        for path, found in new.items():
            for seen in sorted(found, key=lambda one: order.get(one.tool, 0)):
                finding = _finding(reading.files[path].change, seen)
                findings.append(finding)
                if seen.fix:
                    edits.setdefault(suggestions.place_of(finding), seen.fix)
        return findings, edits


def _order(finding: Finding) -> tuple[int, str, int]:
    return finding.severity.rank, finding.path, finding.line


def _base_of(file: Compared) -> tuple[Side | None, str]:
    """Its side at base, if that is a file, and its path there; a copied file's is the one that it was copied from."""
    base = file.change.base
    path = file.change.old_path or file.change.path
    return (base if base is not None and base.kind is FileKind.REGULAR else None), path


def _forget_incomparable(reading: Reading, unread: Reading) -> None:
    """Without its base, nothing in a file is known to be new; without one tool's word on it, nothing of that tool's."""
    for path, reason in unread.reasons.items():
        if reading.files[path].head:
            reading.reasons[path] = f"what it was at base is not known: {reason}"
    for tool, failed in unread.failed.items():
        for path, reason in failed.items():
            compared = reading.files[path]
            if any(seen.tool == tool for seen in compared.head):
                compared.head = [seen for seen in compared.head if seen.tool != tool]
                compared.forget_keys()
                reading.failed.setdefault(tool, {})[path] = f"what it was at base is not known: {reason}"
                reading.read_by.get(path, set()).discard(tool)


def _failures(reading: Reading) -> list[str]:
    """Tools that did not read what they read otherwise: each once, with the first reason."""
    return [
        f"{tool} did not read {len(paths)} file{'s' if len(paths) > 1 else ''}: {next(iter(paths.values()))}"
        for tool, paths in reading.failed.items()
    ]


def _coverage(file: FileChange, reading: Reading) -> FileCoverage:
    path = file.path
    if path in reading.reasons:
        return FileCoverage(path, read=False, reason=reading.reasons[path])
    if file.status is FileStatus.DELETED:
        return FileCoverage(path, read=True, reason="deleted, so nothing in it can be new")
    failed = [f"{reasons[path]}" for reasons in reading.failed.values() if path in reasons]
    if not reading.read_by.get(path):
        return FileCoverage(path, read=False, reason="; ".join(failed) or eligibility.SECRETS_ONLY)
    for reason in failed:
        reading.remark(path, f"not read in full: {reason}")
    return FileCoverage(path, read=True, reason=reading.remarks.get(path, ""))


def _observe_heads(said: Said, reading: Reading) -> None:
    """Keep the candidates, and of all other lines only how often they say the same as one."""
    if not said.tool.code:
        _hide_secrets(said)
    for text, diagnostic in said:
        changed = _changed_lines(text.file, reading)
        anchor = None if changed is None else anchor_of(text.source, diagnostic, changed)
        if anchor is None and diagnostic.rule not in BREAKS_THE_FILE:
            continue
        if len(text.file.head) < MAX_OBSERVATIONS_A_FILE:
            text.file.head.append(observation(text.source, diagnostic, anchor, said.tool.name))
            text.file.forget_keys()
        else:
            reading.cut.add(text.file.change.path)
    for text, diagnostic in said:
        key = key_of(text.source, diagnostic) if text.file.head else None
        if key in text.file.keys and diagnostic.rule not in BREAKS_THE_FILE:
            changed = _changed_lines(text.file, reading)
            if changed is not None and anchor_of(text.source, diagnostic, changed) is None:
                text.file.unchanged[key] += 1


def _hide_secrets(said: Said) -> None:
    for text, diagnostic in said:
        if diagnostic.secret:
            text.source.hide(diagnostic.secret)


def _changed_lines(file: Compared, reading: Reading) -> LineRanges | None:
    """The changed lines of head; None, and noted as not read, where they cannot be had."""
    path = file.change.path
    if path in reading.reasons:
        return None
    try:
        return file.change.changed_lines
    except ContentUnavailable as exc:
        reading.reasons[path] = str(exc)
        return None


def _observe_bases(said: Said, moved_keys: frozenset[MovedKey], unread: Reading) -> None:
    if not said.tool.code:
        _hide_secrets(said)
    for text, diagnostic in said:
        file, seen = text.file, observation(text.source, diagnostic, tool=said.tool.name)
        assert file.base is not None
        if not file.concerns(seen, moved_keys):
            continue
        if len(file.base) < MAX_OBSERVATIONS_A_FILE:
            file.base.append(seen)
        else:
            unread.reasons[file.change.path] = f"more than {MAX_OBSERVATIONS_A_FILE:,} findings there are alike"


def _finding(file: FileChange, seen: Observation) -> Finding:
    assert seen.anchor is not None
    together = file.changed_lines.range_of(seen.anchor)
    last = together.stop - 1 if together else seen.anchor
    return Finding(
        path=file.path,
        line=seen.anchor,
        end_line=max(seen.anchor, min(seen.end_row, last)),
        rule=seen.rule,
        message=seen.message,
        severity=Severity(seen.severity) if seen.severity else severity_of(seen.rule),
        source_line=seen.line[:300],
        symbol=seen.symbol,
        fingerprint=seen.fingerprint,
        category=category_of(seen.rule),
    )
