"""Patterns of paths, as in .gitignore.

Paths come from strangers, so none may take long: a pattern is matched part by part, and a part without backtracking
(`fnmatch`). The regular expressions of pathspec, which reads the patterns, take polynomial time in their stars.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

MAX_CHARACTERS = 1_000
_ANY_FOLDERS = "**"


class BadPattern(ValueError):
    """A pattern that cannot be read; the message names it."""


@dataclass(frozen=True)
class PathPatterns:
    """Which paths are meant. A later pattern wins over an earlier one, and `!` takes back."""

    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "PathPatterns":
        """Raises BadPattern."""
        made = cls(tuple(patterns))
        made._rules  # noqa: B018  (read now, so that a bad one is told where it was given)
        return made

    def matches(self, path: str) -> bool:
        parts = path.split("/")
        return next((rule.includes for rule in reversed(self._rules) if rule.matches(parts)), False)

    @cached_property
    def _rules(self) -> "tuple[_Rule, ...]":
        return tuple(rule for pattern in self.patterns if (rule := _read(pattern)) is not None)


@dataclass(frozen=True)
class _Rule:
    """One pattern. parts: what each part of a path must be; None: any number of them, also none."""

    includes: bool
    parts: "tuple[re.Pattern[str] | None, ...]"
    folders_only: bool

    def matches(self, path: Sequence[str]) -> bool:
        """Whether it is a path's own pattern, or one of a folder that the path is in."""
        # How many parts of the path the part of the pattern that was looked at may end with.
        ends = {0}
        for part in self.parts:
            if part is None:
                ends = set(range(min(ends), len(path)))
            else:
                ends = {end + 1 for end in ends if end < len(path) and part.match(path[end])}
            if not ends:
                return False
        return not self.folders_only or min(ends) < len(path)


def _read(pattern: str) -> _Rule | None:
    """None for what says nothing: an empty line, a comment, a range that none is. Raises BadPattern."""
    if len(pattern) > MAX_CHARACTERS:
        raise BadPattern(f"{pattern[:80]!r}… is too long; a pattern has up to {MAX_CHARACTERS:,} characters")
    try:
        regex, includes = GitIgnoreSpecPattern.pattern_to_regex(pattern)
        if regex is None or includes is None:
            return None
        re.compile(regex)  # it says which range is none
        text = pattern if pattern.endswith("\\ ") else pattern.rstrip()
        return _rule(text.removeprefix("" if includes else "!"), includes=includes)
    except (ValueError, TypeError, re.error) as exc:
        raise BadPattern(f"{exc}") from None


def _rule(text: str, includes: bool) -> _Rule:
    folders_only = text.endswith("/")
    parts = text.strip("/").split("/")
    if len(parts) == 1 and not text.startswith("/"):
        parts = [_ANY_FOLDERS, *parts]
    if set(parts) == {_ANY_FOLDERS}:
        parts = [_ANY_FOLDERS, "*"]
    while parts[-1] == _ANY_FOLDERS:
        # What is below a folder: the folder itself is not.
        parts, folders_only = parts[:-1], True
    return _Rule(includes, tuple(_part(part) for part in parts), folders_only)


def _part(glob: str) -> "re.Pattern[str] | None":
    if glob == _ANY_FOLDERS:
        return None
    return re.compile(fnmatch.translate(_ESCAPED.sub(_as_fnmatch, glob)))


#: An escaped character, or a range: fnmatch has no escapes, and its ranges begin otherwise.
_ESCAPED = re.compile(r"\\(.)|\[[!^]?\]?[^\]]*\]", re.DOTALL)


def _as_fnmatch(found: "re.Match[str]") -> str:
    if found[1] is not None:
        return f"[{found[1]}]" if found[1] in "*?[" else found[1]
    return f"[!{found[0][2:]}" if found[0].startswith("[^") else found[0]
