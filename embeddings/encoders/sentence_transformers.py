"""Any model of sentence-transformers, by name or folder: for those who have the package, and torch, installed."""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from embeddings.encoders import texts as texts_
from embeddings.encoders.base import Encoded, EncoderUnavailable, Identity, TextRefused
from embeddings.vectors import BadVector, unit

INSTALL = "install it with: pip install sentence-transformers"
_BATCH = 32


class SentenceTransformers:
    """Loaded once, in one thread. A name that is no folder is fetched from its hub by the package, or its cache."""

    def __init__(self, name: str) -> None:
        if importlib.util.find_spec("sentence_transformers") is None:
            raise EncoderUnavailable(f"the encoder sentence-transformers:{name} needs the package; {INSTALL}")
        self._model = _load(name)
        dimension = int(self._model.get_sentence_embedding_dimension() or 0)
        if not dimension:
            raise EncoderUnavailable(f"sentence-transformers:{name} does not tell its dimension, so it cannot be used")
        longest = getattr(self._model, "max_seq_length", None)
        self.identity = Identity(
            spec=f"sentence-transformers:{name}",
            digest=_digest(self._model, dimension, longest),
            dimension=dimension,
            parameters={"model": name, "max_tokens": longest, "precision": "as published"},
        )

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts, each cut at what the model takes; see `Encoder`."""
        if not texts:
            return Encoded(np.empty((0, self.identity.dimension), np.float32), 0)
        texts_.check(texts)
        rows = self._model.encode(
            list(texts), batch_size=_BATCH, convert_to_numpy=True, normalize_embeddings=False, show_progress_bar=False
        )
        try:
            vectors = unit(np.asarray(rows, dtype=np.float32))
        except BadVector as error:
            lengths = np.linalg.norm(rows, axis=1)
            bad = int(np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))[0])
            raise TextRefused(bad, f"{self.identity.spec}: {error}") from None
        return Encoded(vectors, self._count(texts))

    def _count(self, texts: Sequence[str]) -> int:
        """Tokens that the model read; words where its tokenizer is of another kind."""
        tokenizer, longest = getattr(self._model, "tokenizer", None), getattr(self._model, "max_seq_length", None)
        try:
            counts = [len(ids) for ids in tokenizer(list(texts))["input_ids"]]  # type: ignore[misc]
        except (TypeError, KeyError):
            counts = [len(text.split()) for text in texts]
        return sum(min(count, longest) if longest else count for count in counts)


def _load(name: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    # One process a core; the library would take them all.
    torch.set_num_threads(1)
    try:
        # Code that comes with a model is not run.
        return SentenceTransformer(name, device="cpu", trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise EncoderUnavailable(
            f"sentence-transformers:{name} cannot be loaded: {reason}; name a folder, or a model that is in its cache"
        ) from None


def _digest(model: Any, dimension: int, longest: int | None) -> str:
    """Over the weights as loaded, and how long a text they are given: a name alone may come to mean others."""
    digest = hashlib.sha256(json.dumps({"dimension": dimension, "max_tokens": longest}).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).tobytes())
    return digest.hexdigest()
