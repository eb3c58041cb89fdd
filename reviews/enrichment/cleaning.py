"""From an issue's Markdown to its prose: without code, logs, quotations, and what its template put there."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

#: Longer texts are logs pasted whole; their beginning says what it is about.
MAX_CHARACTERS = 8_000
#: A line is of the template when it stands in so many of the repository's latest issues, and in this share of them.
TEMPLATE_ISSUES = 5
TEMPLATE_SHARE = 0.3
#: Of fewer issues it cannot be told.
LEAST_SAMPLE = 10
#: What is read before anything is taken away: cleaning must stay cheap whatever was pasted.
MAX_READ = 200_000
MAX_EMPTY_ANSWER = 80

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_DETAILS = re.compile(r"<details\b[^>]{0,300}>.*?(?:</details>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,300}>")
_IMAGE = re.compile(r"!\[([^\]\n]{0,200})\]\([^)\n]{0,1000}\)")
_LINK = re.compile(r"\[([^\]\n]{1,300})\]\([^)\n]{0,1000}\)")
_URL = re.compile(r"\bhttps?://\S+")
_CODE = re.compile(r"`+([^`\n]{1,200})`+")
_EMPHASIS = re.compile(r"(\*\*|__|~~)(?=\S)(.{1,500}?)(?<=\S)\1")
_CHECKBOX = re.compile(r"^\s*(?:[-*+]|\d+[.)])?\s*\[[ xX]\]")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+|^\s*\*\*[^*\n]{1,80}\*\*:?\s*$")
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_EMPTY_ANSWER = re.compile(r"^\W*(?:no response|n/?a|none|nothing|-+|\.+)\W*$", re.IGNORECASE)
_LOG = re.compile(
    r"""^\s*(?:
        \[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d            # a time stamp
      | \[?\d\d:\d\d:\d\d
      | Traceback\ \(most\ recent | File\ "[^"]+",\ line\ \d+ | \^+\s*$
      | at\ [\w.$<>\[\]/ ]+\(.*\)\s*$ | at\ (?:async\ )?[\w./$\\-]+:\d+
      | (?:\$|>>>|\.\.\.|\#\#)\s+\S | goroutine\ \d+ | panic:
      | (?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL|TRACE)\b[\s:|\]]
      | \+{3}\s | -{3}\s | @@\s | diff\ --git | \d+\s*\|\s
      | \w[\w.$]*(?:Error|Exception)(?::|$)
    )""",
    re.VERBOSE,
)
_SYMBOL = re.compile(r"[{}()\[\];=<>/\\|_$#@*&^%~]")
_SPACES = re.compile(r"[ \t\u00a0]+")


@dataclass(frozen=True)
class Cleaned:
    """paragraphs: of prose, in their order. cut: whether the text was longer than what is kept."""

    title: str
    paragraphs: tuple[str, ...]
    cut: bool = False

    @property
    def body(self) -> str:
        return "\n".join(self.paragraphs)

    @property
    def text(self) -> str:
        return f"{self.title}\n{self.body}".strip()


def template_lines(bodies: Iterable[str]) -> frozenset[str]:
    """The lines that stand in many of these bodies: their template's, not their authors'."""
    counts: Counter[str] = Counter()
    total = 0
    for body in bodies:
        total += 1
        counts.update({key for line in body[:MAX_READ].splitlines() if (key := line_key(line))})
    if total < LEAST_SAMPLE:
        return frozenset()
    least = max(TEMPLATE_ISSUES, TEMPLATE_SHARE * total)
    return frozenset(key for key, count in counts.items() if count >= least)


def line_key(line: str) -> str:
    """What two lines share that differ in marks, case and spaces only; a ticked box is like an empty one."""
    return " ".join(re.findall(r"\w+", _CHECKBOX.sub("", line).lower()))[:200]


def clean(title: str, body: str, template: frozenset[str] = frozenset()) -> Cleaned:
    """The prose of an issue. template: from `template_lines`; it stays where there is nothing else.

    So an issue that is posted over and over keeps its text.
    """
    found = _clean(title, body, template)
    return found if found.paragraphs or not template else _clean(title, body, frozenset())


def _clean(title: str, body: str, template: frozenset[str]) -> Cleaned:
    text = _DETAILS.sub("\n", _COMMENT.sub("\n", body[:MAX_READ].replace("\r\n", "\n").replace("\r", "\n")))
    lines = _without_fences(text.split("\n"))
    kept = [_line(line, template) for line in lines]
    paragraphs, length, cut = [], 0, len(body) > MAX_READ
    for paragraph in _paragraphs(kept):
        left = MAX_CHARACTERS - length
        if left <= 0:
            cut = True
            break
        cut = cut or len(paragraph) > left
        paragraphs.append(paragraph[:left])
        length += len(paragraph)
    return Cleaned(_spaced(_inline(title))[:1000], tuple(paragraphs), cut)


def _without_fences(lines: list[str]) -> list[str]:
    kept: list[str] = []
    fence = ""
    for line in lines:
        found = _FENCE.match(line)
        if fence:
            # A fence ends with one of its kind that is at least as long.
            if found and found[1].startswith(fence):
                fence = ""
            continue
        if found:
            fence = found[1]
            kept.append("")
            continue
        kept.append(line)
    return kept


def _line(line: str, template: frozenset[str]) -> str:
    """A line of prose, or nothing; a heading ends a paragraph, too."""
    if line.startswith(("    ", "\t")) and not _BULLET.match(line):
        return ""
    if line.lstrip().startswith((">", "|")) or _HEADING.match(line) or _CHECKBOX.match(line) or _LOG.match(line):
        return ""
    key = line_key(line)
    # Only of short lines: on a long row of dashes it would never come to an end.
    if not key or key in template or (len(line) <= MAX_EMPTY_ANSWER and _EMPTY_ANSWER.match(line)):
        return ""
    text = _spaced(_inline(_BULLET.sub("\n", line)))
    return "" if _is_code(text) else text


def _inline(text: str) -> str:
    text = _LINK.sub(r"\1", _IMAGE.sub("", text))
    text = _EMPHASIS.sub(r"\2", _CODE.sub(r"\1", _TAG.sub("", _URL.sub("", text))))
    return text.replace("\0", " ")


def _spaced(text: str) -> str:
    return _SPACES.sub(" ", text).strip(" \t")


def _is_code(text: str) -> bool:
    """Whether a line has more marks of code than prose has."""
    visible = len(text) - text.count(" ")
    return visible > 20 and len(_SYMBOL.findall(text)) > 0.18 * visible


def _paragraphs(lines: list[str]) -> list[str]:
    """Lines that follow each other are one paragraph; an item of a list, which begins with a line feed, its own."""
    found: list[list[str]] = [[]]
    for line in lines:
        if not line or line.startswith("\n"):
            found.append([])
        if line.strip():
            found[-1].append(line.strip())
    return [" ".join(part) for part in found if part]
