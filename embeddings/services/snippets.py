"""The part of a chunk that shows best why it was found."""

import re
from dataclasses import dataclass

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from embeddings.services.query_text import words_of

LONGEST = 240
#: Letters that another form of a word may have more: tests and testing, but not filename for file.
ENDING = 3

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True)
class Snippet:
    """text: on one line. marks: first and last (exclusive) character of each word of the query in it."""

    text: str
    marks: tuple[tuple[int, int], ...]

    def html(self) -> SafeString:
        """Escaped, with the words in <mark>."""
        parts, at = [], 0
        for start, end in self.marks:
            parts += [escape(self.text[at:start]), f"<mark>{escape(self.text[start:end])}</mark>"]
            at = end
        parts.append(escape(self.text[at:]))
        return mark_safe("".join(parts))  # noqa: S308  # each part is escaped above


def pattern_of(query: str) -> re.Pattern[str]:
    """Finds each word of a query in a text, and other forms of it, which begin alike; a group for each word."""
    forms = []
    for word in words_of(query):
        stem = word[: max(4, len(word) - 2)]
        ending = rf"\w{{0,{len(word) + ENDING - len(stem)}}}" if len(word) >= 4 else ""
        forms.append(f"({re.escape(stem)}{ending})")
    return re.compile(rf"\b(?:{'|'.join(forms)})\b" if forms else r"(?!)", re.IGNORECASE)


def snippet(text: str, words: re.Pattern[str], longest: int = LONGEST) -> Snippet:
    """The stretch of whole sentences with the most different words of the query, cut to `longest` characters.

    words: see `pattern_of`.
    """
    pieces = [" ".join(piece.split()) for piece in _SENTENCE_END.split(text)]
    pieces = [piece for piece in pieces if piece]
    if not pieces:
        return Snippet("", ())
    first, last = _best(pieces, words, longest)
    window = " ".join(pieces[first:last])
    cut = _cut(window, words, longest)
    before = "… " if first > 0 and not cut.startswith("…") else ""
    after = " …" if last < len(pieces) and not cut.endswith("…") else ""
    shown = f"{before}{cut}{after}"
    return Snippet(shown, tuple(one.span() for one in words.finditer(shown)))


def _best(pieces: list[str], words: re.Pattern[str], longest: int) -> tuple[int, int]:
    """The window of neighbouring pieces that fits and holds the most words; the first of equals."""
    held = [{one.lastindex for one in words.finditer(piece)} for piece in pieces]
    best, most = (0, 1), -1.0
    for first in range(len(pieces)):
        if most >= 0 and not held[first]:
            continue  # a window that begins with a word is as good
        size, found, last = 0, set[int | None](), first
        while last < len(pieces) and (last == first or size + len(pieces[last]) <= longest):
            size += len(pieces[last]) + 1
            found |= held[last]
            last += 1
        # Of windows with as many words, one that begins with a word.
        worth = len(found) + (0.5 if held[first] else 0.0)
        if worth > most:
            best, most = (first, last), worth
    return best


def _cut(text: str, words: re.Pattern[str], longest: int) -> str:
    """Shorten one long sentence to what is around the first word of the query, between words."""
    if len(text) <= longest:
        return text
    mark = words.search(text)
    start = max(0, mark.start() - longest // 4) if mark else 0
    start = min(start, len(text) - longest)
    part = text[start : start + longest]
    if start > 0:
        part = "… " + (part.split(" ", 1)[1] if " " in part[:40] else part)
    if start + longest < len(text):
        part = (part.rsplit(" ", 1)[0] if " " in part[-40:] else part) + " …"
    return part
