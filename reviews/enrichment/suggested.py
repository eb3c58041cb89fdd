"""A label that somebody, or something, holds to fit."""

from collections.abc import Iterable
from dataclasses import dataclass

#: What is less sure is not told: a label that is wrong one time in three is noise.
LEAST_CONFIDENCE = 0.8


@dataclass(frozen=True)
class Suggested:
    """source: ai or rule. confidence: 0 to 1. by: the model or rule."""

    name: str
    source: str
    confidence: float
    reason: str
    by: str


def sure(found: Iterable[Suggested]) -> list[Suggested]:
    """Those that are sure enough, each label once: a rule's word before a model's, then the surer one."""
    best: dict[str, Suggested] = {}
    for one in found:
        known = best.get(one.name)
        if one.confidence < LEAST_CONFIDENCE:
            continue
        if known is None or (one.source == "rule", one.confidence) > (known.source == "rule", known.confidence):
            best[one.name] = one
    return sorted(best.values(), key=lambda one: one.name)
