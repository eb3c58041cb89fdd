"""Source as text and lines: its encoding, the symbol that a line belongs to, where a statement ends."""

import codecs
import io
import re
import tokenize
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

STATEMENT_MAX_CHARS = 20_000

# Their time grows with the square of the length.
_SLOW_CODECS = frozenset({"idna", "punycode"})

PYTHON_SUFFIXES = (".py", ".pyi", ".pyw")
MASK = "••••"

_DEFINITION = re.compile(r"^([ \t\f]*)(?:async[ \t]+def|def|class)[ \t]+(\w+)", re.MULTILINE)
# Of other languages: functions, classes and types, methods, and what a YAML file or a Makefile names at its margin.
_MODIFIERS = "export|default|public|private|protected|static|async|abstract|declare|pub|final|override"
_OTHER_DEFINITION = re.compile(
    rf"^([ \t]*)(?:(?:{_MODIFIERS})[ \t]+)*"
    r"(?:(?:function|class|interface|enum|struct|trait|impl|type|module|namespace|def|fn"
    r"|func(?:[ \t]*\([^)\n]{0,80}\))?)\b[ \t*]*(\w+)"
    r"|(?:const|let|var)[ \t]+(\w+)[^=\n]{0,80}=[ \t]*(?:async[ \t]*)?"
    r"(?:function\b|\([^)\n]{0,200}\)[^=\n]{0,80}=>|\w+[ \t]*=>)"
    r"|(?!(?:if|for|while|switch|catch|return|else|do|with|function)\b)"
    r"(\w+)[ \t]*\([^;\n]{0,200}\)[^;=\n]{0,60}\{[ \t]*\r?$"
    r"|([\w.-]+):[ \t]*\r?$)",
    re.MULTILINE,
)
_TOKEN = re.compile(
    r"""(?P<string>'{3}(?:[^\\]|\\.)*?'{3}|"{3}(?:[^\\]|\\.)*?"{3}|'(?:[^\\\n']|\\.)*'|"(?:[^\\\n"]|\\.)*")"""
    r"""|(?P<comment>\#[^\n]*)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<joined>\\\r?\n)|(?P<newline>\n)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Undecodable:
    """Python itself would refuse the file. row: from 1."""

    row: int
    message: str


def decode(content: bytes) -> tuple[str, Undecodable | None]:
    """Decode Python source by its byte order mark or coding cookie (PEP 263), else as UTF-8.

    Newlines stay as they are. What cannot be decoded is replaced, and the first such place is told.
    """
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
        if codecs.lookup(encoding).name not in _SLOW_CODECS:
            return content.decode(encoding), None
        problem = Undecodable(1, f"source in the encoding {encoding} is not read")
    except UnicodeDecodeError as exc:
        row = content.count(b"\n", 0, exc.start) + 1
        problem = Undecodable(row, f"byte 0x{content[exc.start]:02x} is not valid {exc.encoding}")
    except SyntaxError as exc:
        problem = Undecodable(*_first_invalid(content, str(exc.msg)))
    except (LookupError, ValueError, TypeError) as exc:
        problem = Undecodable(1, f"the declared encoding cannot be used: {exc}")
    return content.decode("utf-8", "replace").removeprefix("\ufeff"), problem


def _first_invalid(content: bytes, fallback: str) -> tuple[int, str]:
    """detect_encoding names no place: find it, if it is a byte; else the cookie is wrong."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as exc:
        return content.count(b"\n", 0, exc.start) + 1, f"byte 0x{content[exc.start]:02x} is not valid utf-8"
    return 1, fallback


def decode_any(content: bytes) -> str:
    """Decode what is not Python: by its byte order mark, else as UTF-8; what cannot be decoded is replaced."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    return content.decode("utf-8", "replace").removeprefix("\ufeff")


def is_python(path: str) -> bool:
    return path.lower().endswith(PYTHON_SUFFIXES)


class Source:
    """The text of one file. Rows are git's lines, from 1: only a line feed ends one.

    hidden: secrets in it, which no line and no message may show.
    """

    def __init__(self, text: str, *, python: bool = True) -> None:
        self.text = text
        self.hidden: set[str] = set()
        self._python = python

    def hide(self, secret: str) -> None:
        self.hidden.update(part for part in secret.split("\n") if len(part.strip()) >= 6)

    def masked(self, text: str) -> str:
        for secret in self.hidden:
            text = text.replace(secret, MASK)
        return text

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line) + 1)
        return starts

    @cached_property
    def _linter_rows(self) -> list[int] | None:
        """For a text with lone carriage returns, which ruff counts as line ends: its row → git's. Else None."""
        if "\r" not in self.text or not re.search(r"\r(?!\n)", self.text):
            return None
        ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", self.text)]
        return [1, *(bisect_right(self._line_starts, end) for end in ends)]

    def row_of(self, linter_row: int) -> int:
        rows = self._linter_rows
        row = linter_row if rows is None else rows[min(linter_row, len(rows)) - 1]
        return max(1, min(row, len(self.lines)))

    def line(self, row: int) -> str:
        """The line with blanks folded, so that indenting it again makes no other line of it."""
        if not 1 <= row <= len(self.lines):
            return ""
        line = self.lines[row - 1]
        # Masked before it is cut: half of a secret is not recognised.
        return " ".join((self.masked(line) if self.hidden else line)[:2000].split())

    def neighbours(self, row: int) -> tuple[str, str]:
        """The nearest lines before and after that are not blank."""
        before = next((line for r in range(row - 1, max(row - 20, 0), -1) if (line := self.line(r))), "")
        after = next((line for r in range(row + 1, min(row + 20, len(self.lines)) + 1) if (line := self.line(r))), "")
        return before, after

    @cached_property
    def _definitions(self) -> tuple[list[int], list[tuple[str, tuple[tuple[int, str], ...]]]]:
        """Rows of `def` and `class`, and for each the stack of (indentation, name) that it leaves."""
        rows: list[int] = []
        stacks: list[tuple[str, tuple[tuple[int, str], ...]]] = []
        stack: list[tuple[int, str]] = []
        for match in (_DEFINITION if self._python else _OTHER_DEFINITION).finditer(self.text):
            indent = _width(match[1])
            group = match.lastindex or 1
            while stack and stack[-1][0] >= indent:
                stack.pop()
            stack.append((indent, match[group]))
            rows.append(bisect_right(self._line_starts, match.start(group)))
            stacks.append((match[group], tuple(stack)))
        return rows, stacks

    def symbol(self, row: int) -> str:
        """The function or class around a line, dotted; of a `def` or `class` itself, what is around that.

        Told from indentation alone, so that it works for source that does not parse.
        """
        rows, stacks = self._definitions
        index = bisect_right(rows, row) - 1
        if index < 0:
            return ""
        line = self.lines[row - 1][:2000]
        indent = _width(line[: len(line) - len(line.lstrip())])
        return ".".join(name for depth, name in stacks[index][1] if depth < indent)

    def statement_end(self, row: int, column: int) -> int:
        """The row where the brackets that open at or after (row, column) are closed again; from 1 both.

        Of other languages than Python, whose strings and comments are written otherwise: that row itself.
        """
        if not self._python:
            return row
        start = self._line_starts[row - 1] + column - 1
        depth = 0
        for match in _TOKEN.finditer(self.text, start, start + STATEMENT_MAX_CHARS):
            if match["open"]:
                depth += 1
            elif match["close"]:
                depth -= 1
            if depth < 0 or (depth == 0 and match["newline"]):
                return bisect_right(self._line_starts, match.start())
        return row


def _width(blank: str) -> int:
    return len(blank.replace("\f", "").expandtabs(8))
