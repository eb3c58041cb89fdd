"""Small static tables of a vocabulary of letters, and a teacher that they can learn from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings

from embeddings.encoders import registry, table_store
from embeddings.encoders.base import Encoded, Identity
from embeddings.encoders.static import SPEC, StaticTable
from embeddings.models import EmbeddingModel
from embeddings.services.model_rows import model_for
from embeddings.tests import tiny_bert
from embeddings.vectors import Matrix, unit

#: Of tiny_bert: four marks, each letter, and each letter that goes on with a word.
VOCABULARY = 4 + 2 * 26
DIMENSION = 32
TEACHER = "letters:"


def on_a_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a host of its own, with weights of a tiny model; the shared storage is the same for all."""
    tiny_bert.write(folder / "weights")
    ours = {"ENCODERS_DIR": folder / "encoders", "WEIGHTS": str(folder / "weights")}
    monkeypatch.setattr(settings, "EMBEDDINGS", {**settings.EMBEDDINGS, **ours})


def share_in(folder: Path, changed: Any) -> None:
    """changed: pytest-django's settings, which Django's storages notice changes of."""
    storage = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(folder)}}
    changed.STORAGES = {**changed.STORAGES, "indexes": storage}


def rows(seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(VOCABULARY, DIMENSION)).astype(np.float32)


def make_table(seed: int = 0) -> EmbeddingModel:
    """A table on this host and in the shared storage, known to the database."""
    tokenizer = (Path(settings.EMBEDDINGS["WEIGHTS"]) / "tokenizer.json").read_bytes()
    digest = table_store.write(rows(seed), tokenizer, {"made": "for a test"}, {})
    table_store.publish(digest)
    return model_for(StaticTable.load(digest))


class Letters:
    """A teacher for whom a text is the sum of its letters, some of which weigh more, and a little of its own."""

    def __init__(self, name: str) -> None:
        self.identity = Identity(TEACHER + name, hashlib.sha256(name.encode()).hexdigest(), DIMENSION)
        self._rows = np.random.default_rng(5).normal(size=(256, DIMENSION))
        self._weights = np.random.default_rng(6).gamma(0.3, size=256)

    def encode(self, texts: Sequence[str]) -> Encoded:
        vectors = np.stack([self._vector(text) for text in texts])
        return Encoded(unit(vectors.astype(np.float32)), tokens=sum(map(len, texts)))

    def _vector(self, text: str) -> Any:
        codes = np.frombuffer(text.encode("latin-1", "replace"), np.uint8)
        own = np.random.default_rng(list(text.encode())).normal(size=DIMENSION) * 0.1
        return (self._rows[codes] * self._weights[codes, None]).sum(axis=0) + own


registry.KINDS[TEACHER] = Letters

__all__ = ["SPEC", "Letters", "make_table", "on_a_host", "rows", "share_in"]
