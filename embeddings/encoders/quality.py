"""How much of an encoder's judgement a smaller one of the same model keeps."""

import ast
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from embeddings.vectors import Matrix

#: Passages to compare over, and the characters of the short and the long ones.
PASSAGES = 400
SHORT, LONG = 160, 500
NEIGHBOURS = 10
LEAST_OVERLAP = 0.93


def sample(part: int = 0) -> list[str]:
    """Real English prose that is on every machine: what the sources of Python's library and Django explain.

    Half of it short, half long; the same on every machine with the same versions. part: 1 for passages to calibrate
    by, none of which are in part 0, to judge by.
    """
    import django

    files = sorted(Path(os.__file__).parent.glob("*.py"), key=lambda file: _shuffled(file.name))
    found: dict[str, None] = {}
    # The second is there where a packager left out the sources of the first.
    for file in (*files, *sorted(Path(django.__file__).parent.glob("db/models/**/*.py"))):
        found |= dict.fromkeys(_docstrings(file))
        long = [text for text in found if len(text) >= LONG // 2]
        short = [text for text in found if len(text) < LONG // 2]
        if min(len(long), len(short)) >= PASSAGES:
            break
    chosen = [sorted(texts, key=_shuffled)[part * PASSAGES // 2 :][: PASSAGES // 2] for texts in (long, short)]
    return [*(_cut(text, LONG) for text in chosen[0]), *(_cut(text, SHORT) for text in chosen[1])]


def _shuffled(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _docstrings(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = " ".join((ast.get_docstring(node) or "").split())
            if len(text) >= SHORT // 2:
                yield text


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest].rsplit(" ", 1)[0]


def neighbour_overlap(exact: Matrix, other: Matrix, k: int = NEIGHBOURS) -> float:
    """The share of each text's k nearest that both find. exact, other: shape (n, d) and (n, e), unit length, n > k."""
    nearest = [_nearest(vectors, k) for vectors in (exact, other)]
    shared = [len(np.intersect1d(one, two, assume_unique=True)) for one, two in zip(*nearest, strict=True)]
    return float(np.mean(shared) / k)


def _nearest(vectors: Matrix, k: int) -> "np.ndarray[tuple[int, int], np.dtype[np.intp]]":
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argpartition(-likeness, k, axis=1)[:, :k]
