"""Finds how far an index must search to reach a recall, and how fast it is then."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.engines.base import Held, Source
from embeddings.engines.faiss_kinds import Kind
from embeddings.engines.faiss_searcher import FaissSearcher
from embeddings.services.held_queries import K, mean, recalls, worst_twentieth


@dataclass(frozen=True)
class Tuned:
    """queries_per_s: of one core. curve: (value, mean recall) of each value that was tried, ascending."""

    kind: Kind
    index: Any
    parameters: dict[str, int]
    recall_mean: float
    recall_p5: float
    queries_per_s: float
    curve: list[tuple[int, float]]
    reaches: bool

    def as_row(self) -> dict[str, Any]:
        return {
            "kind": self.kind.name,
            "parameters": self.parameters,
            "recall_mean": round(self.recall_mean, 4),
            "recall_p5": round(self.recall_p5, 4),
            "queries_per_s": round(self.queries_per_s),
            "reaches_target": self.reaches,
            "curve": [[value, round(recall, 4)] for value, recall in self.curve],
        }


def tune(kind: Kind, index: Any, source: Source, held: Held, target: float, floor: float) -> Tuned:
    """Take the smallest value at which the mean recall is `target` and that of the worst twentieth `floor`.

    The largest if none is enough.
    """
    measured: dict[int, NDArray[np.float64]] = {}

    def enough(value: int) -> bool:
        measured[value] = recalls(_searcher(kind, index, source, value).search, source, held)
        return mean(measured[value]) >= target and worst_twentieth(measured[value]) >= floor

    values = kind.values or (0,)
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if enough(values[middle]):
            high = middle
        else:
            low = middle + 1
    chosen = values[low]
    reaches = enough(chosen)
    return Tuned(
        kind,
        index,
        {kind.parameter: chosen} if kind.parameter else {},
        mean(measured[chosen]),
        worst_twentieth(measured[chosen]),
        _queries_per_s(_searcher(kind, index, source, chosen), held),
        [(value, mean(measured[value])) for value in sorted(measured)] if kind.parameter else [],
        reaches,
    )


def _searcher(kind: Kind, index: Any, source: Source, value: int) -> FaissSearcher:
    return FaissSearcher(index, source.ids, {kind.parameter: value})


def _queries_per_s(searcher: FaissSearcher, held: Held) -> float:
    """One query a call, by the time of this thread's CPU: what else runs on the machine does not count."""
    if not len(held.queries):
        return 0.0
    began = time.thread_time()
    for query in held.queries:
        searcher.search(query[None, :], K)
    return len(held.queries) / max(time.thread_time() - began, 1e-9)
