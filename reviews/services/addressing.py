"""Whether a comment at GitHub speaks to us, and what it asks for.

It does when it names us (`@switchyard …`) or begins with `/switchyard`; and in a thread that we began also when it is
one of the commands alone, or asks something without naming anybody else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

NAME = "switchyard"
MAX_READ = 20_000

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_BACKQUOTES = re.compile(r"`+")
_MENTION = re.compile(r"(?<![\w/@.`-])@([A-Za-z0-9][A-Za-z0-9-]{0,38})(\[bot\])?", re.ASCII)
_WORDS = re.compile(r"[a-z]+")


class Command(StrEnum):
    """What can be asked for. HELP is for everybody; the rest needs write access."""

    REVIEW = "review"
    FULL_REVIEW = "full review"
    PAUSE = "pause"
    RESUME = "resume"
    RESOLVE = "resolve"
    DISMISS = "dismiss"
    HELP = "help"


@dataclass(frozen=True)
class Addressed:
    """A comment that speaks to us. command: None for a question; text: what it says, without quotes and our name."""

    command: Command | None
    text: str


def addressed(body: str, names: frozenset[str], *, in_our_thread: bool = False) -> Addressed | None:
    """What a comment wants of us, None if it does not speak to us.

    names: by which we are called, in lower case, such as an App's slug. Quoted lines and code are not read.
    """
    said = _plain(body)
    mentioned = {match[1].lower() for match in _MENTION.finditer(said)}
    ours = (names | {NAME}) & mentioned
    slash = re.match(rf"\s*/{NAME}\b", said, re.IGNORECASE)
    text = _without_names(said, ours) if ours else said[slash.end() :] if slash else said
    command = _command(text)
    if ours or slash:
        return Addressed(command, text.strip())
    if in_our_thread and not mentioned and (command is not None or "?" in said):
        return Addressed(command, text.strip())
    return None


def _plain(body: str) -> str:
    """Without what is quoted, and without code, which may name anybody. Takes time in proportion to the length."""
    text = _without_comments(body[:MAX_READ].replace("\r\n", "\n"))
    return _without_code("\n".join(_own_lines(text.split("\n"))))


def _without_comments(text: str) -> str:
    parts, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start)) >= 0:
        parts.append(text[at:start])
        at = end + 3
    return " ".join([*parts, text[at:]])


def _own_lines(lines: list[str]) -> Iterator[str]:
    """Lines that are neither quoted nor inside of a fence."""
    fence = ""
    for line in lines:
        marked = _FENCE.match(line)
        if fence:
            if marked and marked[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif marked:
            fence = marked[1]
        elif not line.lstrip().startswith(">"):
            yield line


def _without_code(text: str) -> str:
    """Without code spans: from a run of backquotes to the next of the same length."""
    parts, at = [], 0
    runs = [match.span() for match in _BACKQUOTES.finditer(text)]
    later: dict[int, list[int]] = {}
    for index in range(len(runs) - 1, -1, -1):
        later.setdefault(runs[index][1] - runs[index][0], []).append(index)
    for index, (start, end) in enumerate(runs):
        same = later[end - start]
        while same and same[-1] <= index:
            same.pop()
        if start >= at and same:
            parts.append(text[at:start])
            at = runs[same[-1]][1]
    return " ".join([*parts, text[at:]])


def _without_names(text: str, names: set[str] | frozenset[str]) -> str:
    return _MENTION.sub(lambda match: "" if match[1].lower() in names else match[0], text)


def _command(text: str) -> Command | None:
    """The command that a text consists of, or begins with on a line of its own."""
    line = next((line for line in text.splitlines() if line.strip()), "").strip().lower().lstrip("/")
    words = " ".join(_WORDS.findall(line))
    polite = words.removeprefix("please ").removesuffix(" please").removesuffix(" this")
    return Command(polite) if polite in set(Command) else None
