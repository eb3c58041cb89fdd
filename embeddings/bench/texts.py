"""What is embedded here: real prose of known length, from the docstrings of what is installed.

Nothing is downloaded, and the same installation gives the same texts: stretches of the docstrings of Python's standard
library and of the packages beside Django, cut to a number of tokens that follows a fixed sequence.
"""

import itertools
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import django

_DOCSTRING = re.compile(r'"""(.*?)"""', re.DOTALL)
_NOT_PROSE = re.compile(r"^\s*(>>>|\.\.\.|[-=~^*#+|]{3,}).*$", re.MULTILINE)
_FEWEST_WORDS = 8


@dataclass(frozen=True)
class Length:
    """Texts of `least` to `most` tokens, all lengths alike often."""

    name: str
    least: int
    most: int


#: 31.5 tokens on average, and 150.
SHORT = Length("short", 20, 43)
LONG = Length("long", 100, 200)
LENGTHS = {length.name: length for length in (SHORT, LONG)}


@lru_cache(maxsize=4)
def texts(length: Length, count: int) -> tuple[str, ...]:
    """`count` distinct texts. Where the prose is used up, it comes again with a number."""
    found: list[str] = []
    seen: set[str] = set()
    for text in itertools.islice(_cut(length), 50 * count):
        if text not in seen:
            seen.add(text)
            found.append(text)
            if len(found) == count:
                return tuple(found)
    once = len(found)
    again = (f"{found[number % once]} ({number // once + 1})" for number in range(once, count))
    return (*found, *again)


def _cut(length: Length) -> Iterator[str]:
    from embeddings.encoders.tokens import spans

    sizes = itertools.cycle(range(length.least, length.most + 1))
    size = next(sizes)
    for prose in _prose():
        (tokens,) = spans([prose])
        at = 0
        # What does not fit is kept for the next file: dropped, the longer ones would come less often.
        while at + size <= len(tokens):
            yield prose[tokens[at][0] : tokens[at + size - 1][1]]
            at += size
            size = next(sizes)


def _prose() -> Iterator[str]:
    """The docstrings of one file after another, each file's as one line."""
    for folder in (Path(sysconfig.get_path("stdlib")), Path(django.__file__).parents[1]):
        for path in sorted(folder.rglob("*.py")):
            if folder.name != "site-packages" and "site-packages" in path.parts:
                continue
            source = path.read_text(encoding="utf-8", errors="ignore")
            cleaned = (" ".join(_NOT_PROSE.sub("", one).split()) for one in _DOCSTRING.findall(source))
            prose = " ".join(one for one in cleaned if one.count(" ") >= _FEWEST_WORDS)
            if prose:
                yield prose
