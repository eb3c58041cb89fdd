"""What would stand in place of a finding's lines: offered only if it applies, reads as before, and adds no finding."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from reviews.analysis.source import decode, decode_any, is_python
from reviews.analysis.tools import TOOLS
from reviews.analysis.tools.base import Edit, Text, ToolFailed
from reviews.changes import Change, ContentUnavailable, FileChange
from reviews.providers.base import Finding

Place = tuple[str, int, str]
Edits = dict[Place, tuple[Edit, ...]]

MAX_LINES = 20
MAX_VERIFIED = 60
_SECRET = re.compile(r"secret/|S10[567]$")


def place_of(finding: Finding) -> Place:
    return finding.path, finding.line, finding.rule


def offer(change: Change, findings: Sequence[Finding], edits: Mapping[Place, Sequence[Edit]]) -> list[Finding]:
    """The findings, with a suggestion where a tool, or a rule of ours, knows what to write. Not verified yet."""
    files = {file.path: file for file in change.files}
    secret_lines = {(one.path, one.line) for one in findings if _SECRET.match(one.rule)}
    texts: dict[str, str | None] = {}
    offered = list(findings)
    for index, finding in enumerate(findings):
        wanted = edits.get(place_of(finding)) or _OWN.get(finding.rule)
        if not wanted or finding.suggestion is not None or (finding.path, finding.line) in secret_lines:
            continue
        if finding.path not in texts:
            texts[finding.path] = _head_text(files[finding.path])
        text = texts[finding.path]
        if text is not None:
            offered[index] = _with_suggestion(finding, files[finding.path], text, wanted)
    return offered


def verify(change: Change, findings: Sequence[Finding]) -> list[Finding]:
    """The findings, without those suggestions that do not apply, do not parse, or bring a finding of their own."""
    files = {file.path: file for file in change.files}
    heads: dict[str, str] = {}
    after: dict[int, Text] = {}
    for index, finding in enumerate(findings):
        if finding.suggestion is None or len(after) >= MAX_VERIFIED or finding.path not in files:
            continue
        if finding.path not in heads and (text := _head_text(files[finding.path])) is not None:
            heads[finding.path] = text
        changed = _applied(finding, heads.get(finding.path))
        if changed is not None:
            after[index] = Text(finding.path, changed)
    good = _adding_nothing(heads, after)
    return [
        finding if finding.suggestion is None or index in good else replace(finding, suggestion=None)
        for index, finding in enumerate(findings)
    ]


def _head_text(file: FileChange) -> str | None:
    try:
        content = file.head.load() if file.head is not None else b""
    except ContentUnavailable:
        return None
    text, problem = decode(content) if is_python(file.path) else (decode_any(content), None)
    # What cannot be written back as it was is not offered. A lone carriage return makes lines uncertain.
    return None if problem or not text or re.search(r"\r(?!\n)", text) else text


def _applied(finding: Finding, text: str | None) -> str | None:
    """The file with the suggestion in place of its lines; None where these are not there, or it changes nothing."""
    if text is None or finding.suggestion is None:
        return None
    lines = text.split("\n")
    if not 1 <= finding.line <= finding.end_line <= len(lines):
        return None
    ends = "\r" if lines[finding.line - 1].endswith("\r") else ""
    new = [line + ends for line in finding.suggestion.removesuffix("\n").split("\n")]
    changed = [*lines[: finding.line - 1], *new, *lines[finding.end_line :]]
    return None if changed == lines else "\n".join(changed)


def _adding_nothing(before: Mapping[str, str], after: Mapping[int, Text]) -> set[int]:
    """Those of `after` of which no tool says more than of the file as it is, and which parse if it does."""
    good = {index for index, text in after.items() if _parses_as_before(before[text.path], text)}
    sources = {f"before {path}": Text(path, text) for path, text in before.items()}
    sources |= {f"after {index}": after[index] for index in good}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for tool in TOOLS:
        chosen = {key: text for key, text in sources.items() if tool.reads(text.path, text.text[:200].split("\n")[0])}
        if not chosen:
            continue
        try:
            with tool.run(chosen) as output:
                for key, said in output:
                    counts[key][said.rule] += 1
        except ToolFailed:
            # Nothing is known of them, so none of them is offered.
            good -= {index for index in good if f"after {index}" in chosen}
    return {index for index in good if not counts[f"after {index}"] - counts[f"before {after[index].path}"]}


def _parses_as_before(before: str, after: Text) -> bool:
    """By the grammar of its language; what has none is left to the tools."""
    from reviews.code import languages, parsing

    if not languages.language_of(after.path):
        return True
    parser = parsing.Parser()
    try:
        partial = [
            parser.parse(after.path, text.encode("utf-8", "replace")).is_partial for text in (before, after.text)
        ]
    except parsing.NotParsed:
        return False
    finally:
        parser.close()
    return partial[0] or not partial[1]


def _with_suggestion(
    finding: Finding, file: FileChange, text: str, wanted: "Sequence[Edit] | Callable[[str], str | None]"
) -> Finding:
    """Told on just the lines that it replaces; without one where these are not all changed, or nothing would stay."""
    lines = text.split("\n")
    if callable(wanted):
        fixed = wanted(lines[finding.line - 1])
        new = [*lines[: finding.line - 1], fixed, *lines[finding.line :]] if fixed is not None else lines
    else:
        new = _edited(text, wanted).split("\n")
    start, end, new_end = _difference(lines, new)
    first, last = min(start + 1, finding.line), max(end, start + 1)
    together = file.changed_lines.range_of(first)
    grown = new_end - end
    put = [line.removesuffix("\r") for line in new[first - 1 : last + grown]]
    if new == lines or together is None or last not in together or not any(line.strip() for line in put):
        return finding
    if finding.line not in range(first, last + 1) or max(last - first + 1, len(put)) > MAX_LINES:
        return finding
    return replace(finding, line=first, end_line=last, suggestion="\n".join(put))


def _edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made; the same text where two of them overlap, or one lies outside."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    spans = sorted(
        (starts[edit.row - 1] + edit.column - 1, starts[edit.end_row - 1] + edit.end_column - 1, edit.text)
        for edit in edits
        if 1 <= edit.row <= edit.end_row < len(starts)
    )
    made = text
    limit = len(text) + 1
    for start, end, put in reversed(spans):
        if not 0 <= start <= end <= min(limit, len(text)):
            return text
        made, limit = made[:start] + put + made[end:], start
    return made


def _difference(old: Sequence[str], new: Sequence[str]) -> tuple[int, int, int]:
    """(start, end, end in new): old[start:end] is replaced by new[start:end in new]."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    tail = 0
    while tail < min(len(old), len(new)) - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start, len(old) - tail, len(new) - tail


def _put(pattern: str, text: str) -> Callable[[str], str | None]:
    """A line with the only match of a pattern replaced; None where there is none, or several."""
    compiled = re.compile(pattern)

    def fix(line: str) -> str | None:
        return compiled.sub(text, line) if len(compiled.findall(line)) == 1 else None

    return fix


_OWN: dict[str, Callable[[str], str | None]] = {
    "S501": _put(r"\bverify\s*=\s*False\b", "verify=True"),
    "S506": _put(
        r"\byaml\.load\(([^(),]+)(?:,\s*(?:Loader\s*=\s*)?yaml\.(?:Unsafe|Full)?Loader\s*)?\)", r"yaml.safe_load(\1)"
    ),
    "DL3014": _put(r"\bapt-get install (?!.*(?:-y|--yes|--assume-yes)\b)", "apt-get install -y "),
    "DL3020": _put(r"^(\s*)(?:ADD|add) ", r"\1COPY "),
    "switchyard/js-tls-off": _put(r"\brejectUnauthorized(['\"]?)\s*:\s*false\b", r"rejectUnauthorized\1: true"),
    "switchyard/go-tls-off": _put(r"\bInsecureSkipVerify:(\s*)true\b", r"InsecureSkipVerify:\1false"),
}
