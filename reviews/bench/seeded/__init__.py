"""Seeded changes: bugs that linters can see, and changes without any; precision and recall of the embedded reviewer."""

from reviews.bench.seeded.corpus import clean_cases, seeded_cases
from reviews.bench.seeded.measuring import SeededResult, measure

__all__ = ["SeededResult", "clean_cases", "measure", "seeded_cases"]
