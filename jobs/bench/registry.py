"""Which benchmarks there are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.module_loading import autodiscover_modules

from jobs.bench.figures import Options, Report

Run = Callable[[Options], Report]


class UnknownBenchmark(LookupError):
    """No benchmark of that name is registered."""


class UnknownPart(LookupError):
    """A benchmark has no part of that name."""


@dataclass(frozen=True)
class Benchmark:
    """parts: what `Options.only` can name, in the order in which they run; none if it is of one piece."""

    name: str
    summary: str
    run: Run
    parts: tuple[str, ...] = ()

    def check_parts(self, only: Sequence[str]) -> None:
        """Raises UnknownPart, naming what there is."""
        for part in only:
            if part not in self.parts:
                known = f"choose from: {', '.join(self.parts)}" if self.parts else "it is of one piece"
                raise UnknownPart(f"benchmark {self.name!r} has no part {part!r}; {known}")


_registered: dict[str, Benchmark] = {}


def benchmark(name: str, *, summary: str, parts: Sequence[str] = ()) -> Callable[[Run], Run]:
    """Register a function as the benchmark `name`. Raises ValueError if that name is taken."""

    def register(run: Run) -> Run:
        if name in _registered:
            raise ValueError(f"a benchmark named {name!r} is registered already")
        _registered[name] = Benchmark(name, summary, run, tuple(parts))
        return run

    return register


def benchmarks() -> list[Benchmark]:
    """All benchmarks of all installed apps, by name."""
    autodiscover_modules("bench")
    return [_registered[name] for name in sorted(_registered)]


def find(name: str) -> Benchmark:
    """Raises UnknownBenchmark, naming what there is."""
    known = {known.name: known for known in benchmarks()}
    if name not in known:
        raise UnknownBenchmark(f"unknown benchmark {name!r}; choose from: {', '.join(known)}")
    return known[name]
