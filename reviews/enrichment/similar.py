"""Which issues resemble one: by the words they share, weighted by how rare those are in the repository.

Shown to people, and nothing is done about them: of pairs that look alike, most are not the same issue.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Weaker resemblance is chance.
LEAST_SCORE = 0.2
MOST_SHOWN = 5
MOST_NEIGHBOURS = 10
NAMED_WORDS = 4


@dataclass(frozen=True)
class Alike:
    """issue: its id here. score: 0 to 1, of one kind for all of a list. reason: for people."""

    issue: int
    score: float
    reason: str

    def as_row(self, **more: Any) -> dict[str, Any]:
        return {"issue": self.issue, "score": round(self.score, 3), "reason": self.reason, **more}


class TermIndex:
    """The terms of some issues, by which the nearest to another is found: cosine of TF-IDF.

    Arrays have one entry for each word of each issue. An issue that is put again takes a new place, and its former
    one is passed over.
    """

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._issues: list[int] = []
        self._place: dict[int, int] = {}
        self._parts: list[tuple[list[int], list[float], int]] = []
        self._arrays: _Arrays | None = None

    def __len__(self) -> int:
        """Places, with those that are passed over."""
        return len(self._issues)

    def put(self, issue: int, terms: Sequence[str]) -> None:
        """terms: of `words.terms`."""
        counts = Counter(terms)
        columns = [self._columns.setdefault(word, len(self._columns)) for word in counts]
        self._place[issue] = len(self._issues)
        self._issues.append(issue)
        self._parts.append((columns, [1 + math.log(count) for count in counts.values()], self._place[issue]))

    def nearest(self, terms: Sequence[str], exclude: int = 0) -> list[Alike]:
        """The most alike first."""
        import numpy as np

        mine = {word: 1 + math.log(count) for word, count in Counter(terms).items()}
        if not mine or not self._place:
            return []
        arrays, alive = self._gathered(), self._alive(exclude)
        kept = alive[arrays.places]
        columns, places = arrays.columns[kept], arrays.places[kept]
        # A word that no other issue has counts like one that a single issue has.
        held = np.maximum(np.bincount(columns, minlength=len(self._columns)), 1)
        rare = np.log((alive.sum() + 1) / held) + 0.1
        weights = arrays.weights[kept] * rare[columns]
        lengths = np.sqrt(np.bincount(places, weights * weights, minlength=len(alive)))
        asked, length = self._asked(mine, rare, math.log(alive.sum() + 1) + 0.1)
        products = weights * asked[columns]
        scores = np.bincount(places, products, minlength=len(alive)) / np.maximum(lengths * length, 1e-9)
        names = list(self._columns)
        return [
            Alike(self._issues[at], min(float(scores[at]), 1.0), _reason(columns, products, places == at, names))
            for at in np.argsort(-scores, kind="stable")[:MOST_NEIGHBOURS]
            if scores[at] >= LEAST_SCORE
        ]

    def _alive(self, exclude: int) -> "NDArray[np.bool_]":
        """Shape (places,): which are looked at."""
        import numpy as np

        alive = np.zeros(len(self._issues), dtype=bool)
        alive[list(self._place.values())] = True
        if exclude in self._place:
            alive[self._place[exclude]] = False
        return alive

    def _asked(
        self, mine: dict[str, float], rare: "NDArray[np.float64]", rarest: float
    ) -> "tuple[NDArray[np.float64], float]":
        """The weight of each word, shape (words,), and their length with that of words that are not known here."""
        import numpy as np

        asked, unknown = np.zeros(len(self._columns)), 0.0
        for word, weight in mine.items():
            column = self._columns.get(word)
            if column is None:
                unknown += (weight * rarest) ** 2
            else:
                asked[column] = weight * rare[column]
        return asked, math.sqrt(float((asked * asked).sum()) + unknown)

    def _gathered(self) -> "_Arrays":
        import numpy as np

        if self._parts:
            parts, self._parts = self._parts, []
            known = self._arrays or _Arrays(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
            self._arrays = _Arrays(
                np.concatenate([known.columns, *(np.asarray(columns, np.int64) for columns, _, _ in parts)]),
                np.concatenate([known.places, *(np.full(len(columns), place) for columns, _, place in parts)]),
                np.concatenate([known.weights, *(np.asarray(weights) for _, weights, _ in parts)]),
            )
        assert self._arrays is not None  # nearest is asked of what holds something
        return self._arrays


@dataclass(frozen=True)
class _Arrays:
    """Each of shape (n,): which word, of which place, and 1 + log of how often it stands there."""

    columns: "NDArray[np.int64]"
    places: "NDArray[np.int64]"
    weights: "NDArray[np.float64]"


def _reason(columns: Any, products: Any, chosen: Any, names: list[str]) -> str:
    own, shares = columns[chosen], products[chosen]
    telling = [names[own[at]] for at in (-shares).argsort(kind="stable")[:NAMED_WORDS] if shares[at] > 0]
    return f"shares {', '.join(telling)}"


def fused(by_word: Sequence[Alike], by_meaning: Sequence[Alike]) -> list[Alike]:
    """Both lists as one: by reciprocal ranks, each with the score that it had (the better one) and both reasons."""
    ranks: dict[int, float] = {}
    for found in (by_word, by_meaning):
        for rank, one in enumerate(found):
            ranks[one.issue] = ranks.get(one.issue, 0.0) + 1 / (60 + rank)
    known: dict[int, Alike] = {}
    for one in (*by_word, *by_meaning):
        before = known.get(one.issue)
        if before is None:
            known[one.issue] = one
        else:
            known[one.issue] = Alike(one.issue, max(before.score, one.score), f"{before.reason}; {one.reason}")
    return sorted(known.values(), key=lambda one: -ranks[one.issue])
