"""Several rankings made into one, by reciprocal rank.

Source: Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
methods" (SIGIR 2009): the sum of 1 / (60 + rank).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

CONSTANT = 60


@dataclass(frozen=True)
class Ranked:
    """A chunk in a ranking. rank: from 1. score: of the ranking's own kind. tier: of the vector, if it is by one."""

    chunk_id: int
    rank: int
    score: float
    tier: str = ""

    @property
    def share(self) -> float:
        """What it adds to the fused score."""
        return 1 / (CONSTANT + self.rank)


@dataclass
class Fused:
    """What was found under one key (a document, or a chunk): its best place in each ranking, by the ranking's name."""

    key: int
    places: dict[str, Ranked] = field(default_factory=dict)

    @property
    def score(self) -> float:
        return sum(place.share for place in self.places.values())

    @property
    def best(self) -> Ranked:
        """The place that counts most; of equals, the one by vector, which comes first."""
        return min(self.places.values(), key=lambda place: place.rank)


def ranked(found: Iterable[tuple[int, float]], key_of: Callable[[int], int | None], tier: str = "") -> list[Ranked]:
    """The first chunk of each key, ranked among keys. found: (chunk id, score), best first. None: left out.

    All that is answered comes by here, so what has no finite score, which JSON cannot say, is left out too.
    """
    seen: set[int] = set()
    ranking = []
    for chunk_id, score in found:
        key = key_of(chunk_id)
        if key is not None and key not in seen and math.isfinite(score):
            seen.add(key)
            ranking.append(Ranked(chunk_id, len(seen), score, tier))
    return ranking


def fuse(rankings: Mapping[str, Sequence[Ranked]], key_of: Callable[[int], int | None]) -> list[Fused]:
    """One ranking of all keys, best first. A key that is twice in one of the rankings counts with its better place."""
    found: dict[int, Fused] = {}
    for name, ranking in rankings.items():
        for place in ranking:
            key = key_of(place.chunk_id)
            if key is None:
                continue
            places = found.setdefault(key, Fused(key)).places
            if name not in places or place.rank < places[name].rank:
                places[name] = place
    return sorted(found.values(), key=lambda one: (-one.score, one.best.rank, -one.best.score, one.key))
