"""The reviewer that needs no network: ruff over base and head, and only what is new on changed lines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from reviews.analysis import ruff
from reviews.analysis.comparison import Compared, Observation, new_observations, observe
from reviews.analysis.severity import applies, severity_of
from reviews.analysis.source import Source, Undecodable, decode
from reviews.changes import Change, ContentUnavailable, FileChange, FileKind, FileStatus, Side
from reviews.providers.base import FileCoverage, Finding, Report, ReviewResult, report_nothing

BATCH_FILES = 200
BATCH_BYTES = 16 * 1024 * 1024
PYTHON_SUFFIXES = (".py", ".pyi", ".pyw")


@dataclass
class _Reading:
    """What is known so far. reasons: path → why it was not read; remarks: path → what to know about the reading."""

    files: dict[str, Compared] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


class EmbeddedReviewer:
    name = "embedded"

    def review(self, change: Change, report: Report = report_nothing) -> ReviewResult:
        reading = _Reading()
        for file in change.files:
            reason = why_not_read(file)
            if reason:
                reading.reasons[file.path] = reason
            else:
                reading.files[file.path] = Compared(file)
        self._read_heads(reading, report)
        if any(file.candidates for file in reading.files.values()):
            self._read_bases(reading, report)
        found = self._findings(reading)
        report(1.0, f"{len(found)} findings")
        return ReviewResult(
            provider=self.name,
            findings=tuple(found),
            left_out=0,
            coverage=tuple(_coverage(file, reading) for file in change.files),
            notes=change.notes,
        )

    def _read_heads(self, reading: _Reading, report: Report) -> None:
        files = [file for file in reading.files.values() if file.change.head is not None]
        done = 0
        for batch in _batches(files, lambda file: file.change.head, reading):
            for compared, source, undecodable, diagnostics in _lint(batch, reading):
                file = compared.change
                if undecodable is not None:
                    reading.remarks[file.path] = f"read with replacements: {undecodable.message}"
                try:
                    changed = file.changed_lines if diagnostics or undecodable else None
                except ContentUnavailable as exc:
                    reading.reasons[file.path] = str(exc)
                    continue
                compared.head = observe(source, diagnostics, undecodable, changed)
            done += len(batch)
            report(0.7 * done / len(files), f"{done} of {len(files)} files read")

    def _read_bases(self, reading: _Reading, report: Report) -> None:
        """Read every base, also of files without a candidate: code that moved is told by where it is gone from."""
        files = [file for file in reading.files.values() if file.change.path not in reading.reasons and _had_text(file)]
        files.sort(key=lambda file: not file.candidates)
        done = 0
        unread = _Reading()
        for batch in _batches(files, lambda file: file.change.base, unread):
            for compared, source, undecodable, diagnostics in _lint(batch, unread):
                compared.base = observe(source, diagnostics, undecodable, None)
            done += len(batch)
            report(0.7 + 0.3 * done / len(files), f"{done} of {len(files)} files compared with base")
        for path, reason in unread.reasons.items():
            # Without its base, nothing in the file is known to be new.
            if reading.files[path].candidates:
                reading.reasons[path] = f"what it was at base is not known: {reason}"

    def _findings(self, reading: _Reading) -> list[Finding]:
        """All of them, the most severe first."""
        for path in reading.reasons:
            reading.files.pop(path, None)
        new = new_observations(list(reading.files.values()))
        for path, compared in reading.files.items():
            if any(seen.breaks_the_file for seen in compared.head):
                reading.remarks.setdefault(path, "does not parse, so most rules could not look at it")
            elif compared.base and any(seen.breaks_the_file for seen in compared.base):
                reading.remarks.setdefault(path, "did not parse at base, so all of its changed lines count as new")
        findings = [_finding(reading.files[path].change, seen) for path, found in new.items() for seen in found]
        return sorted(findings, key=lambda found: (found.severity.rank, found.path, found.line, found.rule))


def why_not_read(file: FileChange) -> str:
    """In words for the coverage; empty for a file that is read."""
    side = file.head or file.base
    if side is not None and side.kind is not FileKind.REGULAR:
        return f"a {side.kind}"
    if file.path.lower().endswith(".ipynb"):
        return "a notebook; only Python source is read"
    if not file.path.lower().endswith(PYTHON_SUFFIXES):
        return "not Python"
    return ""


def _had_text(file: Compared) -> bool:
    """Whether base has Python source of it; a copied file's base is the one it was copied from."""
    base = file.change.base
    path = file.change.old_path or file.change.path
    return base is not None and base.kind is FileKind.REGULAR and path.lower().endswith(PYTHON_SUFFIXES)


def _coverage(file: FileChange, reading: _Reading) -> FileCoverage:
    if file.path in reading.reasons:
        return FileCoverage(file.path, read=False, reason=reading.reasons[file.path])
    remark = reading.remarks.get(file.path, "")
    if file.status is FileStatus.DELETED:
        remark = "deleted, so nothing in it can be new"
    return FileCoverage(file.path, read=True, reason=remark)


def _batches(
    files: Iterable[Compared], side_of: Callable[[Compared], Side | None], reading: _Reading
) -> Iterator[list[tuple[Compared, bytes]]]:
    """Load one side, a bounded number of bytes at a time; what cannot be loaded is noted as not read."""
    batch: list[tuple[Compared, bytes]] = []
    size = 0
    for file in files:
        side = side_of(file)
        if side is None:
            continue
        try:
            content = side.load()
        except ContentUnavailable as exc:
            reading.reasons[file.change.path] = str(exc)
            continue
        if batch and (len(batch) >= BATCH_FILES or size + len(content) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((file, content))
        size += len(content)
    if batch:
        yield batch


_Linted = tuple[Compared, Source, Undecodable | None, Sequence[ruff.Diagnostic]]


def _lint(batch: Sequence[tuple[Compared, bytes]], reading: _Reading) -> Iterator[_Linted]:
    """Lint a batch at once; where that fails, one by one, so that a single bad file costs only itself."""
    decoded = {str(number): decode(content) for number, (_, content) in enumerate(batch)}
    sources = {key: (batch[int(key)][0].change.path, text) for key, (text, _) in decoded.items()}
    answers: dict[str, list[ruff.Diagnostic]] = {}
    try:
        answers = ruff.lint(sources)
    except ruff.RuffFailed:
        for key, given in sources.items():
            try:
                answers.update(ruff.lint({key: given}))
            except ruff.RuffFailed as exc:
                reading.reasons[batch[int(key)][0].change.path] = str(exc)
    for key, diagnostics in answers.items():
        text, undecodable = decoded[key]
        file, source = batch[int(key)][0], Source(text)
        path = file.change.path
        kept = [said for said in diagnostics if applies(said.rule, path, source.line(source.row_of(said.row)))]
        yield file, source, undecodable, kept


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
        severity=severity_of(seen.rule),
        source_line=seen.line[:300],
        symbol=seen.symbol,
        fingerprint=seen.fingerprint,
    )
