"""Whatever is done to a file: what is reported is on a changed line, and base did not have it."""

import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from reviews.analysis.tools.base import program
from reviews.standin.repositories import Repo
from reviews.tests.conftest import between

LINES = (
    "import os", "import pickle", "eval(input())", "x = 1", "def f(a=[]):", "    return a", "try:",
    "    x = undefined",
    "except:", "    pass", "class C:", "    def m(self):", "        exec('1')", "", "# comment", "y = (",
    ")", "print(x)",
    'z = """', "password = 'hunter2'", "import subprocess", "subprocess.call('ls', shell=True)", "assert x",
)  # fmt: skip

# Each parses on its own, and in any order.
BLOCKS = (
    "import os", "import pickle\npickle.loads(b'')", "eval(input())", "x = 1", "def f(a=[]):\n    return a",
    "try:\n    x = undefined\nexcept Exception:\n    pass", "class C:\n    def m(self):\n        exec('1')",
    "", "# comment", "y = (\n    input(),\n)", "password = 'hunter2'", "def g():\n    unused = 1\n    return eval('2')",
    "import subprocess\nsubprocess.call(\n    'ls',\n    shell=True,\n)",
)  # fmt: skip


def edited(lines: list[str], parts: tuple[str, ...], random_: random.Random) -> list[str]:
    lines = list(lines)
    for _ in range(random_.randint(1, 8)):
        at = random_.randint(0, len(lines))
        match random_.randint(0, 3):
            case 0:
                lines.insert(at, random_.choice(parts))
            case 1:
                del lines[at : at + random_.randint(1, 4)]
            case 2:
                block = lines[at : at + 3]
                del lines[at : at + 3]
                to = random_.randint(0, len(lines))
                lines[to:to] = block
            case 3 if at < len(lines):
                lines[at] = lines[at].replace("x", "other").replace("input", "globals")
    return lines


def changed_lines(repo: Repo, base: str, head: str, path: str) -> set[int]:
    """By git's own count, in the plainest form of its diff."""
    lines: set[int] = set()
    for line in repo.git("diff", "-U0", "-M", base, head, "--", path).split("\n"):
        if line.startswith("@@"):
            start, _, count = line.split(" ")[2][1:].partition(",")
            lines.update(range(int(start), int(start) + int(count or 1)))
    return lines


def linted(folder: Path, source: str) -> Counter[tuple[str, str]]:
    """(rule, line) as ruff itself says, without our reading of it."""
    file = folder / "module.py"
    file.write_text(source)
    command = [program("ruff"), "check", "--isolated", "--no-cache", "--output-format", "concise"]
    command += ["--select", "S,F,E9,B,PLE,ASYNC", "--target-version", "py314", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: Counter[tuple[str, str]] = Counter()
    lines = source.split("\n")
    for said in done.stdout.splitlines():
        parts = said.removeprefix(f"{file}:").split(":", 2)
        if said.startswith(str(file)):
            found[parts[2].split()[0], " ".join(lines[int(parts[0]) - 1].split())] += 1
    return found


@pytest.mark.parametrize("seed", range(40))
def test_what_is_reported_is_new_and_on_a_changed_line(repo: Repo, tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    parts = BLOCKS if seed % 2 else LINES
    before = [random_.choice(parts) for _ in range(random_.randint(5, 60))]
    after = edited(before, parts, random_)
    base = repo.commit({"a.py": "\n".join(before) + "\n"})
    head = repo.commit({"a.py": "\n".join(after) + "\n"})

    result = between(repo, base, head)

    changed = changed_lines(repo, base, head, "a.py")
    at_base = linted(tmp_path, "\n".join(before) + "\n")
    at_head = linted(tmp_path, "\n".join(after) + "\n")
    for found in result.findings:
        assert set(range(found.line, found.end_line + 1)) <= changed, found
        if found.rule != "invalid-syntax":
            assert at_head[found.rule, found.source_line], found
            # In another function the same line is another finding.
            assert at_head[found.rule, found.source_line] > at_base[found.rule, found.source_line] or found.symbol, (
                found
            )
