"""An encoder that needs no model: runs of letters, hashed to directions that are fixed at random.

Texts that share words, or parts of words, point the same way. Meaning it does not know. Nothing is downloaded or
fitted, and the same text has the same vector on every machine, because hashes and sums are of whole numbers.
Source: feature hashing and very sparse random projections (Weinberger et al. 2009; Li, Hastie and Church 2006).
"""

from collections.abc import Iterator, Sequence
from string import punctuation

import numpy as np
from numpy.typing import NDArray

from embeddings.encoders import texts as texts_
from embeddings.encoders.base import Encoded, Identity
from embeddings.encoders.weights import digest_of
from embeddings.vectors import Matrix, unit

SPEC = "ngram"
DIMENSION = 384
SHORTEST, LONGEST = 3, 5
#: Coordinates that each run of letters adds to or takes from.
SPREAD = 8
_COMMON = (
    "a an and are as at be by for from has have if in is it its not of on or that the this to was were which will with"
)
#: Left out, unless a text has nothing else: they are in every English text, and so make all alike.
COMMON = frozenset(_COMMON.split())
RECIPE = {"recipe": 2, "dimension": DIMENSION, "characters": [SHORTEST, LONGEST], "spread": SPREAD}
#: Characters that are hashed at a time, and of one text: memory is about 100 bytes for each.
BATCH_CHARACTERS = 200_000
MAX_CHARACTERS = 100_000

Hashes = NDArray[np.uint64]


class NgramHash:
    """Needs nothing, and holds nothing."""

    def __init__(self) -> None:
        self.identity = Identity(
            spec=SPEC,
            digest=digest_of({"kind": SPEC, **RECIPE}),
            dimension=DIMENSION,
            parameters={"characters": f"{SHORTEST} to {LONGEST}", "max_characters": MAX_CHARACTERS},
        )

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts, each cut at MAX_CHARACTERS. Raises TextRefused. A word counts as a token."""
        texts_.check(texts)
        words = [text[:MAX_CHARACTERS].lower().split() for text in texts]
        parts = [_project(part) for part in _parts([f" {' '.join(_telling(found))} " for found in words])]
        vectors = unit(np.concatenate(parts)) if parts else np.empty((0, DIMENSION), np.float32)
        return Encoded(vectors, sum(map(len, words)))


def _telling(words: list[str]) -> list[str]:
    """Words without the signs around them, and without the common ones."""
    bare = (word.strip(punctuation) for word in words)
    return [word for word in bare if word and word not in COMMON] or words


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for text in texts:
        if part and size + len(text) > BATCH_CHARACTERS:
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part


def _project(texts: Sequence[str]) -> Matrix:
    """texts: with a blank before and after, so each has a run of three. Returns shape (n, DIMENSION)."""
    letters = np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    single = _mixed(letters + np.uint64(1))
    running = single
    cells = np.zeros(len(texts) * DIMENSION)
    for length in range(2, LONGEST + 1):
        # The hash of a run, from that of the run without its last letter.
        running = _mixed(running[:-1] * np.uint64(0x9E3779B97F4A7C15) + single[length - 1 :])
        if length >= SHORTEST:
            within = owners[: len(running)] == owners[length - 1 :]
            _add(cells, owners[: len(running)][within] * DIMENSION, running[within])
    return cells.reshape(-1, DIMENSION).astype(np.float32)


def _add(cells: NDArray[np.float64], rows: NDArray[np.int64], hashes: Hashes) -> None:
    """Add each hash's direction to its row: SPREAD coordinates, 16 bits of hash for each and its sign."""
    for turn in range(SPREAD):
        place = turn % 4
        if place == 0:
            hashes = _mixed(hashes + np.uint64(turn + 1))
        bits = (hashes >> np.uint64(16 * place)) & np.uint64(0xFFFF)
        coordinates = rows + ((bits >> np.uint64(1)) * np.uint64(DIMENSION) >> np.uint64(15)).astype(np.int64)
        signs = (bits & np.uint64(1)).astype(np.float64) * 2 - 1
        cells += np.bincount(coordinates, weights=signs, minlength=len(cells))


def _mixed(hashes: Hashes) -> Hashes:
    """MurmurHash3's finalizer: every bit of the input changes half of the output's."""
    hashes = hashes ^ (hashes >> np.uint64(33))
    hashes = hashes * np.uint64(0xFF51AFD7ED558CCD)
    hashes = hashes ^ (hashes >> np.uint64(33))
    hashes = hashes * np.uint64(0xC4CEB9FE1A85EC53)
    return hashes ^ (hashes >> np.uint64(33))
