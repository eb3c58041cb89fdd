"""What a benchmark is asked, and what it answers."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Options:
    """rounds, tasks: None leaves the choice to the benchmark. quick: a smoke test, whose figures mean little.

    history: finished jobs to measure beside, 0 for none. only: parts of the benchmark, none for all.
    large: also what takes long or much memory. repositories: paths of git histories, for benchmarks that read some.
    """

    rounds: int | None = None
    tasks: int | None = None
    quick: bool = False
    history: int = 0
    only: tuple[str, ...] = ()
    large: bool = False
    repositories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """One measured value. at_least, at_most: the target, if there is one."""

    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> float | None:
        return self.at_least if self.at_least is not None else self.at_most

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.value <= self.at_most if self.at_most is not None else None

    def as_json(self) -> dict[str, Any]:
        return {"value": rounded(self.value), "unit": self.unit, "target": self.target, "holds": self.holds}


@dataclass
class Report:
    """A benchmark's answer. further: keys beside the fixed ones, for whoever wants to know more."""

    name: str
    machine: dict[str, Any]
    rounds: int
    figures: dict[str, Figure]
    further: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "machine": self.machine,
            "rounds": self.rounds,
            "figures": {key: figure.as_json() for key, figure in self.figures.items()},
            **self.further,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, by nearest rank. Raises ValueError without values."""
    if not values:
        raise ValueError("no values were measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median_of(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each key over the rounds that have it."""
    keys = dict.fromkeys(key for one in rounds for key in one)
    return {key: rounded(statistics.median(one[key] for one in rounds if key in one)) for key in keys}


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
