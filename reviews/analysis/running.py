"""Runs the tools over one side of files, in batches; what fails costs only itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from reviews.analysis import eligibility
from reviews.analysis.comparison import Compared
from reviews.analysis.severity import applies
from reviews.analysis.source import Source, Undecodable, decode, decode_any, is_python
from reviews.analysis.tools.base import Diagnostic, Text, Tool, ToolFailed, ToolMissing
from reviews.changes import ContentUnavailable, Side

BATCH_FILES = 200
BATCH_BYTES = 8 * 1024 * 1024
# Of one tool in one review, before it is given up: each may have taken its whole time.
MAX_FAILURES = 12
AT_ONCE = 2


@dataclass
class Reading:
    """What is known so far. reasons: path → why it was not read; remarks: path → what to know about the reading.

    cut: paths of files with more on their changed lines than is kept. failed: tool → path → why that tool did not
    read it. read_by: path → tools of code that did.
    """

    files: dict[str, Compared] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    read_by: dict[str, set[str]] = field(default_factory=dict)

    def remark(self, path: str, text: str) -> None:
        before = self.remarks.get(path)
        if text not in (before or ""):
            self.remarks[path] = f"{before}; {text}" if before else text

    def fail(self, tool: Tool, path: str, reason: str) -> None:
        self.failed.setdefault(tool.name, {})[path] = reason
        self.read_by.get(path, set()).discard(tool.name)


@dataclass
class SourceOf:
    """One side of a file, as text. path: on that side."""

    file: Compared
    path: str
    source: Source
    undecodable: Undecodable | None

    @classmethod
    def of(cls, file: Compared, path: str, content: bytes) -> "SourceOf":
        if is_python(path):
            text, undecodable = decode(content)
            return cls(file, path, Source(text), undecodable)
        return cls(file, path, Source(decode_any(content), python=False), None)

    @property
    def first_line(self) -> str:
        return self.source.text[:200].split("\n", 1)[0]


@dataclass(frozen=True)
class Said:
    """What one tool said of some texts; it can be gone through more than once."""

    tool: Tool
    texts: Mapping[str, SourceOf]
    output: Iterable[tuple[str, Diagnostic]]

    def __iter__(self) -> Iterator[tuple[SourceOf, Diagnostic]]:
        """Only where the rule applies."""
        for key, said in self.output:
            text = self.texts[key]
            if applies(said.rule, text.path, text.source.line(text.source.row_of(said.row))):
                yield text, said


def batches(
    files: Iterable[Compared],
    side_of: Callable[[Compared], tuple[Side | None, str]],
    reading: Reading,
) -> Iterator[list[SourceOf]]:
    """Load one side, a bounded number of bytes at a time; what cannot be loaded is noted as not read."""
    batch: list[SourceOf] = []
    size = 0
    for file in files:
        side, path = side_of(file)
        if side is None:
            continue
        try:
            content = side.load()
        except ContentUnavailable as exc:
            reading.reasons[file.change.path] = str(exc)
            continue
        if reason := eligibility.why_not_read(path, content):
            reading.reasons[file.change.path] = reason
            continue
        if batch and (len(batch) >= BATCH_FILES or size + len(content) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(SourceOf.of(file, path, content))
        size += len(content)
    if batch:
        yield batch


def run_tools(tools: Sequence[Tool], batch: Sequence[SourceOf], reading: Reading) -> Iterator[Said]:
    """Each tool over what it reads of a batch, two at a time; what they say comes in the order of the tools."""
    with ThreadPoolExecutor(AT_ONCE) as threads, ExitStack() as outputs:
        waiting = []
        for tool in tools:
            chosen = {str(n): text for n, text in enumerate(batch) if tool.reads(text.path, text.first_line)}
            if tool.code:
                for text in chosen.values():
                    reading.read_by.setdefault(text.file.change.path, set()).add(tool.name)
            if chosen:
                waiting.append(threads.submit(_run, tool, chosen, reading, outputs))
        for one in waiting:
            yield from one.result()


def _run(tool: Tool, chosen: Mapping[str, SourceOf], reading: Reading, outputs: ExitStack) -> list[Said]:
    """At once; where that fails, in halves, so that a single bad file costs only itself."""
    if len(reading.failed.get(tool.name, {})) >= MAX_FAILURES:
        for text in chosen.values():
            reading.fail(tool, text.file.change.path, f"{tool.name} was given up after {MAX_FAILURES} failures")
        return []
    try:
        return [_run_once(tool, chosen, outputs)]
    except ToolFailed as exc:
        if len(chosen) == 1 or isinstance(exc, ToolMissing):
            for text in chosen.values():
                reading.fail(tool, text.file.change.path, str(exc))
            return []
    keys = list(chosen)
    halves = (keys[: len(keys) // 2], keys[len(keys) // 2 :])
    return [said for half in halves for said in _run(tool, {key: chosen[key] for key in half}, reading, outputs)]


def _run_once(tool: Tool, chosen: Mapping[str, SourceOf], outputs: ExitStack) -> Said:
    """Raises ToolFailed."""
    with ExitStack() as stack:
        output = stack.enter_context(tool.run({key: Text(one.path, one.source.text) for key, one in chosen.items()}))
        for _ in output:
            pass  # what cannot be read is told before anything of it is used
        outputs.push(stack.pop_all())
    return Said(tool, chosen, output)
