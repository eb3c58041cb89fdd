"""One seeded change: what stands at base and at head, and where which bug was put."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

MARK = "§"


@dataclass(frozen=True)
class Seed:
    """A bug on a line of head. rules: a pattern of the rules that tell it."""

    path: str
    line: int
    rules: str

    def is_told_by(self, path: str, line: int, rule: str) -> bool:
        return (path, line) == (self.path, self.line) and re.fullmatch(self.rules, rule) is not None


@dataclass(frozen=True)
class Case:
    """base, head: path → text. seeds: empty for a clean change."""

    name: str
    base: Mapping[str, str]
    head: Mapping[str, str]
    seeds: tuple[Seed, ...] = ()


def case(name: str, base: Mapping[str, str], head: Mapping[str, str], rules: str = "") -> Case:
    """A case whose head has a § at the end of each line that is a bug; rules: of all of them."""
    seeds = []
    clean = {}
    for path, text in head.items():
        lines = text.split("\n")
        seeds += [Seed(path, number, rules) for number, line in enumerate(lines, start=1) if MARK in line]
        clean[path] = text.replace(MARK, "")
    if bool(rules) != bool(seeds):
        raise ValueError(f"{name}: {len(seeds)} lines are marked, and the rules are {rules!r}")
    return Case(name, base, clean, tuple(seeds))


def inserted(host: str, snippet: str, *, at_end: bool) -> str:
    """The host with a snippet at its end, or at the line that says HERE; what it imports already is not repeated."""
    there = set(host.split("\n"))
    snippet = "\n".join(line for line in snippet.split("\n") if not (line.startswith("import ") and line in there))
    snippet = snippet.lstrip("\n")
    marker = re.search(r"^.*HERE.*\n", host, re.MULTILINE)
    if at_end or marker is None:
        return host.rstrip("\n") + "\n\n\n" + snippet
    return host[: marker.start()] + snippet.rstrip("\n") + "\n\n\n" + host[marker.start() :]


def letters(seed: str, count: int, alphabet: str) -> str:
    """The same random letters for the same seed; secrets are made so, and none stands in this repository."""
    made = random.Random(f"seeded {seed}")  # noqa: S311  (repeatable, and guards nothing)
    return "".join(made.choice(alphabet) for _ in range(count))
