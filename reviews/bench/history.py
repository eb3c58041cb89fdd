"""The changes that a git history is made of: what each merge brought, or each commit where nobody merged."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jobs.bench.stack import BenchError

#: A history with fewer merges is taken by its commits.
LEAST_MERGES = 20
WIDER_COMMITS = (2, 3, 5)


@dataclass(frozen=True)
class Sample:
    """One change, from where head left base. middle: a commit on its way, where there is one."""

    repository: str
    base: str
    head: str
    middle: str = ""


@dataclass(frozen=True)
class History:
    """singles: each merge or commit, newest first. pushes: changes of two commits or more, newest first.

    wider: further changes, of several commits each; none in a history of merges.
    """

    path: Path
    of_merges: bool
    singles: tuple[Sample, ...]
    pushes: tuple[Sample, ...]
    wider: tuple[Sample, ...] = ()


def history_of(path: Path) -> History:
    """Raises BenchError."""
    merges = [line.split() for line in _git(path, "rev-list", "--first-parent", "--merges", "--parents", "HEAD")]
    # Of a merge of several branches at once nobody reviewed the whole.
    merges = [ids for ids in merges if len(ids) == 3]
    if len(merges) < LEAST_MERGES:
        return _by_commits(path)
    singles = tuple(Sample(str(path), ours, theirs) for _, ours, theirs in merges)
    return History(path, True, singles, tuple(pushed for one in singles if (pushed := _pushed(path, one))))


def _by_commits(path: Path) -> History:
    commits = _git(path, "rev-list", "--first-parent", "HEAD")
    if len(commits) < 2:
        raise BenchError(f"{str(path)!r} has {len(commits)} commits; the history of a project was expected")
    singles = tuple(Sample(str(path), base, head) for head, base in pairwise(commits))
    pushes = tuple(
        Sample(str(path), base, head, middle)
        for head, middle, base in zip(commits, commits[1:], commits[2:], strict=False)
    )
    wider = tuple(
        Sample(str(path), base, head)
        for count in WIDER_COMMITS
        for head, base in zip(commits, commits[count:], strict=False)
    )
    return History(path, False, singles, pushes, wider)


def _pushed(path: Path, sample: Sample) -> Sample | None:
    commits = _git(path, "rev-list", "--first-parent", f"{sample.base}..{sample.head}")
    if len(commits) < 2:
        return None
    return Sample(sample.repository, sample.base, sample.head, commits[len(commits) // 2])


def shares(wanted: int, available: Sequence[int]) -> list[int]:
    """Divide what is wanted evenly; what one does not have, the others give as far as they can."""
    taken = [0] * len(available)
    while wanted and any(had > got for had, got in zip(available, taken, strict=True)):
        open_ = [index for index, had in enumerate(available) if had > taken[index]]
        for place, index in enumerate(open_):
            even = wanted // (len(open_) - place)
            more = min(max(even, 1 if wanted else 0), available[index] - taken[index], wanted)
            taken[index] += more
            wanted -= more
    return taken


def _git(path: Path, *arguments: str) -> list[str]:
    try:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments], cwd=path, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as exc:
        said = getattr(exc, "stderr", "") or str(exc)
        raise BenchError(f"the history of {str(path)!r} cannot be read: {said.strip()[:500]}") from None
    return done.stdout.split("\n")[:-1]
