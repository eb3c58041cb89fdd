"""The reviewer that needs no network: ruff over base and head, and only what is new on changed lines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from reviews.analysis import ruff
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
from reviews.analysis.severity import applies, severity_of
from reviews.analysis.source import Source, Undecodable, decode
from reviews.changes import Change, ContentUnavailable, FileChange, FileKind, FileStatus, LineRanges, Side
from reviews.providers.base import FileCoverage, Finding, Report, ReviewResult, report_nothing

MAX_OBSERVATIONS_A_FILE = 20_000
BATCH_FILES = 200
BATCH_BYTES = 16 * 1024 * 1024
PYTHON_SUFFIXES = (".py", ".pyi", ".pyw")


@dataclass
class _Reading:
    """What is known so far. reasons: path → why it was not read; remarks: path → what to know about the reading.

    cut: paths of files with more on their changed lines than is kept.
    """

    files: dict[str, Compared] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)

    def remark(self, path: str, text: str) -> None:
        before = self.remarks.get(path)
        self.remarks[path] = f"{before}; {text}" if before else text


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
        if any(file.head for file in reading.files.values()):
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
            for linted in _lint(batch, reading):
                _observe_heads(linted, reading)
            done += len(batch)
            report(0.7 * done / len(files), f"{done} of {len(files)} files read")

    def _read_bases(self, reading: _Reading, report: Report) -> None:
        """Read every base, also of files without a candidate: code that moved is told by where it is gone from."""
        known = [file for file in reading.files.values() if file.change.path not in reading.reasons]
        files = sorted(filter(_had_text, known), key=lambda file: not file.head)
        moved_keys = frozenset(seen.moved_key for file in known for seen in file.head if not seen.breaks_the_file)
        done = 0
        unread = _Reading()
        for batch in _batches(files, lambda file: file.change.base, unread):
            for linted in _lint(batch, unread):
                _observe_bases(linted, moved_keys, unread)
            done += len(batch)
            report(0.7 + 0.3 * done / len(files), f"{done} of {len(files)} files compared with base")
        for path, reason in unread.reasons.items():
            # Without its base, nothing in the file is known to be new.
            if reading.files[path].head:
                reading.reasons[path] = f"what it was at base is not known: {reason}"

    def _findings(self, reading: _Reading) -> list[Finding]:
        """All of them, the most severe first."""
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


@dataclass
class _Text:
    file: Compared
    source: Source
    undecodable: Undecodable | None


@dataclass
class _Linted:
    """One run of ruff; its diagnostics, where they apply, can be gone through more than once."""

    texts: dict[str, _Text]
    output: Iterable[tuple[str, ruff.Diagnostic]]

    def __iter__(self) -> Iterator[tuple[_Text, ruff.Diagnostic]]:
        for key, said in self.output:
            text = self.texts[key]
            if applies(said.rule, text.file.change.path, text.source.line(text.source.row_of(said.row))):
                yield text, said


def _lint(batch: Sequence[tuple[Compared, bytes]], reading: _Reading) -> Iterator[_Linted]:
    """Lint a batch at once; where that fails, one by one, so that a single bad file costs only itself."""
    texts: dict[str, _Text] = {}
    for number, (file, content) in enumerate(batch):
        decoded, undecodable = decode(content)
        texts[str(number)] = _Text(file, Source(decoded), undecodable)
    sources = {key: (text.file.change.path, text.source.text) for key, text in texts.items()}
    try:
        with ruff.lint(sources) as output:
            yield _Linted(texts, output)
    except ruff.RuffFailed:
        for key, given in sources.items():
            try:
                with ruff.lint({key: given}) as output:
                    yield _Linted({key: texts[key]}, output)
            except ruff.RuffFailed as exc:
                reading.reasons[texts[key].file.change.path] = str(exc)


def _observe_heads(linted: _Linted, reading: _Reading) -> None:
    """Keep the candidates, and of all other lines only how often they say the same as one."""
    for text in linted.texts.values():
        if text.undecodable is not None and (changed := _changed_lines(text.file, reading)) is not None:
            reading.remark(text.file.change.path, f"read with replacements: {text.undecodable.message}")
            text.file.head.append(undecodable_observation(text.undecodable, changed))
    for text, said in linted:
        changed = _changed_lines(text.file, reading)
        anchor = None if changed is None else anchor_of(text.source, said, changed)
        if anchor is None and said.rule not in BREAKS_THE_FILE:
            continue
        if len(text.file.head) < MAX_OBSERVATIONS_A_FILE:
            text.file.head.append(observation(text.source, said, anchor))
        else:
            reading.cut.add(text.file.change.path)
    for text, said in linted:
        key = key_of(text.source, said) if text.file.head else None
        if key in text.file.keys and said.rule not in BREAKS_THE_FILE:
            changed = _changed_lines(text.file, reading)
            if changed is not None and anchor_of(text.source, said, changed) is None:
                text.file.unchanged[key] += 1


def _changed_lines(file: Compared, reading: _Reading) -> LineRanges | None:
    """The changed lines of head; None, and noted as not read, where they cannot be had."""
    path = file.change.path
    if path in reading.reasons:
        return None
    try:
        return file.change.changed_lines
    except ContentUnavailable as exc:
        reading.reasons[path] = str(exc)
        return None


def _observe_bases(linted: _Linted, moved_keys: frozenset[MovedKey], reading: _Reading) -> None:
    for text in linted.texts.values():
        text.file.base = [] if text.undecodable is None else [undecodable_observation(text.undecodable)]
    for text, said in linted:
        file, seen = text.file, observation(text.source, said)
        assert file.base is not None
        if not file.concerns(seen, moved_keys):
            continue
        if len(file.base) < MAX_OBSERVATIONS_A_FILE:
            file.base.append(seen)
        else:
            reading.reasons[file.change.path] = f"more than {MAX_OBSERVATIONS_A_FILE:,} findings there are alike"


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
