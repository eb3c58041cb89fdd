"""Makes the rows of a static table: each token through MiniLM, weighted, then fitted to MiniLM's vectors of texts.

Source: sending each token through the teacher is the idea of model2vec (MinishLab); weighting by how rare a token is,
a / (a + p), is of Arora, Liang and Ma, A simple but tough-to-beat baseline for sentence embeddings (2017); taking out
what all tokens share is of Mu and Viswanath, All-but-the-top (2018). The numbers below are the best of a few that were
tried on 12,000 docstrings of Python packages.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embeddings.encoders.base import Encoder, TextRefused
from embeddings.vectors import Matrix, unit

Ids = NDArray[np.int32]
Weights = NDArray[np.float32]
Tell = Callable[[float], None]

#: a of a / (a + p), where p is a token's share of all: by its rank alone, and before a fit, which weighs for itself.
RARE_BY_RANK, RARE_BY_TEXTS = 1e-5, 3e-3
#: Directions that most of all tokens lie along, and that tell little.
SHARED_DIRECTIONS = 8
#: Tokens at the start of BERT's vocabulary that are no words: placeholders and single characters.
NO_WORDS = 1000
#: How strongly a fit holds on to the base, in units of the mean weight of a text.
RIDGE = 0.4
_PLACEHOLDER = "unknown"
_VOCABULARY_BATCH = 2048
# Tokens whose counts are spread out at a time, one column each.
_COLUMNS = 1024


def embed_vocabulary(teacher: Encoder, vocabulary: Sequence[str], tell: Tell = lambda _: None) -> Matrix:
    """What the teacher makes of each token as a text of its own, without what all of them share.

    A token that goes on with a word is taken without its ##. Returns shape (vocabulary, d), unit length. tell: is given
    how much is done, 0 to 1.
    """
    texts = [token.removeprefix("##") or token for token in vocabulary]
    rows = np.empty((len(texts), teacher.identity.dimension), np.float32)
    for first in range(0, len(texts), _VOCABULARY_BATCH):
        part = texts[first : first + _VOCABULARY_BATCH]
        rows[first : first + len(part)] = _embed_tokens(teacher, part)
        tell((first + len(part)) / len(texts))
    return unit(_without_the_shared(unit(rows)))


def weights_by_rank(vocabulary: int) -> Weights:
    """A weight for each token by its place in a vocabulary that is sorted by frequency, as BERT's is about.

    Its frequency is taken to be what Zipf's law says of its rank.
    """
    ranks = np.maximum(np.arange(vocabulary) - NO_WORDS, 1)
    return np.asarray(RARE_BY_RANK / (RARE_BY_RANK + 1 / (ranks * np.log(vocabulary))), np.float32)


def weights_by_texts(ids: Sequence[Ids], vocabulary: int) -> Weights:
    """A weight for each token by how often it comes in texts; one that never does is taken for the rarest."""
    counts = np.bincount(np.concatenate(ids), minlength=vocabulary) + 0.5
    return np.asarray(RARE_BY_TEXTS / (RARE_BY_TEXTS + counts / counts.sum()), np.float32)


def fit(base: Matrix, weights: Weights, ids: Sequence[Ids], targets: Matrix, tell: Tell = lambda _: None) -> Matrix:
    """Move the rows of tokens so that texts come to lie where the teacher puts them.

    base: shape (vocabulary, d), unit length. weights: shape (vocabulary,). ids: the tokens of n texts, none without
    any. targets: the teacher's vectors of them, shape (n, d). Returns rows of shape (vocabulary, d).

    A ridge regression on the change of each row, in units of its weight, with its solution sought among combinations
    of the texts: (X·Xᵀ + λ)·A = R, then Δ = Xᵀ·A. Takes 16·n² bytes and a little.
    """
    rows: Matrix = base * weights[:, None]
    sums = np.stack([rows[one].sum(axis=0) for one in ids])
    scale = 1 / np.linalg.norm(sums, axis=1)
    counts = _Counts(ids, scale.astype(np.float32), weights)
    alike = np.zeros((len(ids), len(ids)))
    for done, (_, block) in enumerate(counts.blocks(), 1):
        alike += block @ block.T
        tell(0.6 * done / counts.n_blocks)
    alike[np.diag_indices_from(alike)] += RIDGE * np.trace(alike) / len(ids)
    combined = np.linalg.solve(alike, (targets - sums * scale[:, None]).astype(np.float64)).astype(np.float32)
    del alike
    tell(0.9)
    for tokens, block in counts.blocks():
        rows[tokens] += weights[tokens, None] * (block.T @ combined)
    return rows


@dataclass(frozen=True)
class Quality:
    """How near a table comes to its teacher, over held-out texts that are searched among themselves.

    top_10_overlap: the part that both top tens share. top_10_in_100: the part of the teacher's top ten that is among
    the table's top hundred, which is what ordering those by the teacher can find. Means, from 0 to 1.
    """

    texts: int
    top_10_overlap: float
    top_10_in_100: float

    def as_dict(self) -> dict[str, float]:
        return {
            "held_out_texts": self.texts,
            "top_10_overlap": round(self.top_10_overlap, 4),
            "top_10_in_100": round(self.top_10_in_100, 4),
        }


def measure(rows: Matrix, ids: Sequence[Ids], targets: Matrix) -> Quality:
    """Compare a table with its teacher. ids: the tokens of n texts; targets: the teacher's vectors, shape (n, d)."""
    vectors = unit(np.stack([rows[one].sum(axis=0) for one in ids]))
    theirs, ours = _ranked(targets, 10), _ranked(vectors, 100)
    overlap = np.mean([np.isin(one, other[:10]).mean() for one, other in zip(theirs, ours, strict=True)])
    inside = np.mean([np.isin(one, other).mean() for one, other in zip(theirs, ours, strict=True)])
    return Quality(len(ids), float(overlap), float(inside))


class _Counts:
    """How often each token comes in each text, times the text's scale and the token's weight: X, a block at a time."""

    def __init__(self, ids: Sequence[Ids], scale: Weights, weights: Weights) -> None:
        self._scale, self._weights, self._texts = scale, weights, len(ids)
        tokens = np.concatenate(ids)
        order = np.argsort(tokens, kind="stable")
        self._tokens = tokens[order]
        self._places = np.repeat(np.arange(len(ids)), [len(one) for one in ids])[order]
        self._seen, starts = np.unique(self._tokens, return_index=True)
        self._starts = np.append(starts, len(tokens))

    @property
    def n_blocks(self) -> int:
        return -(-len(self._seen) // _COLUMNS)

    def blocks(self) -> Iterator[tuple[Ids, Matrix]]:
        """Tokens, and their columns of X: shape (n, tokens)."""
        for first in range(0, len(self._seen), _COLUMNS):
            tokens = self._seen[first : first + _COLUMNS]
            part = slice(self._starts[first], self._starts[first + len(tokens)])
            block = np.zeros((self._texts, len(tokens)), np.float32)
            np.add.at(block, (self._places[part], np.searchsorted(tokens, self._tokens[part])), 1)
            block *= self._scale[:, None]
            block *= self._weights[tokens]
            yield tokens, block


def _embed_tokens(teacher: Encoder, texts: list[str]) -> Matrix:
    """Embed tokens; one that is refused, such as a control character, gets the vector of a placeholder."""
    texts = list(texts)
    while True:
        try:
            return teacher.encode(texts).vectors
        except TextRefused as refused:
            if texts[refused.index] == _PLACEHOLDER:
                raise
            texts[refused.index] = _PLACEHOLDER


def _without_the_shared(rows: Matrix) -> Matrix:
    """Take out the mean of all words' rows, and the directions that they vary in most."""
    words = rows[NO_WORDS:] if len(rows) > 2 * NO_WORDS else rows
    mean = words.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov((words - mean).T))  # in ascending order
    most = directions[:, -SHARED_DIRECTIONS:].astype(np.float32)
    centred = rows - mean
    return np.asarray(centred - (centred @ most) @ most.T, np.float32)


def _ranked(vectors: Matrix, k: int) -> NDArray[np.intp]:
    """The k nearest other rows of each, best first: shape (n, k)."""
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -np.inf)
    return np.argsort(-alike, axis=1)[:, :k]
