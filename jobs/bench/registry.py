"""Which benchmarks there are."""

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.module_loading import autodiscover_modules

from jobs.bench.figures import Options, Report

Run = Callable[[Options], Report]


class UnknownBenchmark(LookupError):
    """No benchmark of that name is registered."""


@dataclass(frozen=True)
class Benchmark:
    name: str
    summary: str
    run: Run


_registered: dict[str, Benchmark] = {}


def benchmark(name: str, *, summary: str) -> Callable[[Run], Run]:
    """Register a function as the benchmark `name`. Raises ValueError if that name is taken."""

    def register(run: Run) -> Run:
        if name in _registered:
            raise ValueError(f"a benchmark named {name!r} is registered already")
        _registered[name] = Benchmark(name, summary, run)
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
