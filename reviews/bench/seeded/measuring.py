"""Precision and recall over the seeded changes."""

from collections.abc import Iterable
from dataclasses import dataclass

from reviews.bench.seeded.case import Case
from reviews.bench.seeded.corpus import clean_cases, seeded_cases
from reviews.bench.seeded.memory import FolderTrees, change_of
from reviews.providers.base import Brief, Finding
from reviews.providers.embedded import EmbeddedReviewer


@dataclass(frozen=True)
class SeededResult:
    """missed: names of cases whose bug was not told; false: (name of the case, finding) of what is no seeded bug."""

    seeded: int
    clean: int
    found: int
    told: int
    missed: tuple[str, ...]
    false: tuple[tuple[str, Finding], ...]

    @property
    def precision(self) -> float:
        """Of all that was told, the part that is a seeded bug."""
        return 1 - len(self.false) / self.told if self.told else 1.0

    @property
    def recall(self) -> float:
        """Of all seeded bugs, the part that was told on its line."""
        return self.found / self.seeded if self.seeded else 1.0


def measure(cases: Iterable[Case] | None = None) -> SeededResult:
    """Review every case; a few minutes for all of them."""
    chosen = [*seeded_cases(), *clean_cases()] if cases is None else list(cases)
    reviewer = EmbeddedReviewer()
    seeds = told = found = 0
    missed: list[str] = []
    false: list[tuple[str, Finding]] = []
    for one in chosen:
        result = reviewer.review(change_of(one.base, one.head), brief=Brief(trees=FolderTrees(one.base, one.head)))
        told += len(result.findings)
        left = list(result.findings)
        for seed in one.seeds:
            matching = [finding for finding in left if seed.is_told_by(finding.path, finding.line, finding.rule)]
            seeds += 1
            found += bool(matching)
            if not matching:
                missed.append(one.name)
            left = [finding for finding in left if finding not in matching]
        false += [(one.name, finding) for finding in left]
    clean = sum(1 for one in chosen if not one.seeds)
    return SeededResult(seeds, clean, found, told, tuple(missed), tuple(false))
