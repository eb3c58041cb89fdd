"""all-MiniLM-L6-v2, or another BERT of sentence-transformers, on onnxruntime in 8 bits, without torch."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embeddings.encoders import built, tokens, weights
from embeddings.encoders import texts as texts_
from embeddings.encoders.base import Encoded, Identity, TextRefused
from embeddings.encoders.batching import BUDGET, batches, pad
from embeddings.encoders.sessions import session
from embeddings.vectors import Matrix, unit

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

SPEC = "minilm"
#: Changed with anything in the graph or in how texts are read that changes vectors.
RECIPE = 3
PRECISION = "int8"
GRAPH = "model.onnx"
PROBE = "probe.onnx"
#: Characters read of a text for each token that fits; what lies behind would be cut anyway, after much work.
CHARACTERS_PER_TOKEN = 64


class MiniLM:
    """Built at the first load on a host, checked against its own exact form, and kept in ENCODERS_DIR."""

    def __init__(self, found: weights.Weights, noted: dict[str, Any]) -> None:
        self._weights = found
        architecture = found.architecture
        self.identity = Identity(
            spec=SPEC,
            digest=digest_of(found),
            dimension=architecture.dimension,
            parameters={
                "precision": PRECISION,
                "max_tokens": architecture.max_tokens,
                "layers": architecture.layers,
                "recipe": RECIPE,
            },
            quality=dict(noted["quality"]),
        )
        self._session: InferenceSession | None = None
        self._process = 0

    @classmethod
    def load(cls, *, anew: bool = False) -> "MiniLM":
        """Find the weights, and build the encoder unless this host has it. anew: build it again.

        Raises EncoderUnavailable: no weights, or damaged ones; nowhere to write; or a build of too low a quality.
        """
        found = weights.find()

        def make(folder: Path) -> dict[str, Any]:
            from embeddings.encoders import building  # with it comes onnx, which only a build needs

            return building.build(found, folder)

        return cls(found, built.build_once(digest_of(found), make, anew=anew))

    def measure(self) -> dict[str, Any]:
        """Compare it again with its exact form; see `building.measure`."""
        from embeddings.encoders import building

        return building.measure(self._weights, self._running(), session(building.exact_graph(self._weights)))

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts, each cut at `max_tokens`. Raises TextRefused, EncoderUnavailable."""
        if not texts:
            return Encoded(np.empty((0, self.identity.dimension), np.float32), 0)
        rows = self._token_ids(texts)
        return Encoded(run(self._running(), rows, self.identity.dimension), sum(map(len, rows)))

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        texts_.check(texts)
        longest = CHARACTERS_PER_TOKEN * self._weights.architecture.max_tokens
        # Ids are lists of whole numbers; those of a text without one token are its two marks alone.
        encoded = self._tokenizer.encode_batch_fast([text.lstrip()[:longest] for text in texts])
        rows = [one.ids for one in encoded]
        for index, ids in enumerate(rows):
            if len(ids) <= 2:
                raise TextRefused(index, "no word is left of the text without its control characters")
        return rows

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        return read_tokenizer(self._weights)

    def _running(self) -> "InferenceSession":
        """A session of this process: what it keeps does not live through a fork."""
        if self._session is None or self._process != os.getpid():
            folder = built.folder_of(self.identity.digest)
            self._session = session(folder / GRAPH, probe=folder / PROBE)
            self._process = os.getpid()
        return self._session


def digest_of(found: weights.Weights) -> str:
    """Over what makes the vectors, not over the file, which another onnx may write in other bytes."""
    return weights.digest_of({"weights": found.digest, "recipe": RECIPE, "precision": PRECISION})


def read_tokenizer(found: weights.Weights) -> "Tokenizer":
    """Cuts at what the model takes. Raises EncoderUnavailable if tokenizer.json is damaged."""
    read = tokens.read_tokenizer(found.tokenizer)
    read.enable_truncation(found.architecture.max_tokens)
    return read


def run(running: "InferenceSession", rows: Sequence[Sequence[int]], dimension: int, budget: int = BUDGET) -> Matrix:
    """Embed token ids, in batches of like length. Returns shape (n, dimension), unit length, in the order of rows."""
    vectors = np.empty((len(rows), dimension), np.float32)
    for places in batches([len(row) for row in rows], budget):
        ids, lengths = pad(rows, places)
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.float32)[:, None, :]
        vectors[places] = running.run(["vectors"], {"ids": ids, "lengths": lengths, "mask": mask})[0]
    return unit(vectors)
