"""Two models that know words, and the steps from one to the other."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from django.contrib.auth.models import Permission, User

from embeddings.encoders import registry
from embeddings.encoders.base import Encoded, Identity
from embeddings.models import Collection
from embeddings.services import builds, candidates, migration, pointer, runs
from embeddings.tests.factories import add_chunks, make_collection
from embeddings.vectors import unit
from jobs.operators.actors import Actor

OLD, NEW = "words:16", "words:24"
TEXTS = [f"document {number} speaks of {subject}" for number in range(12) for subject in ("trees", "rain", "stone")]


class Words:
    """Sums a random direction for each word. NAME: the dimension. build: other weights under the same name."""

    build = ""

    def __init__(self, name: str) -> None:
        self.dimension = int(name)
        digest = hashlib.sha256(f"{name}{self.build}".encode()).hexdigest()
        self.identity = Identity(f"words:{name}", digest, self.dimension)

    def encode(self, texts: Sequence[str]) -> Encoded:
        rows = np.stack([sum(self._direction(word) for word in text.split()) for text in texts])
        return Encoded(unit(np.asarray(rows, dtype=np.float32)), tokens=sum(len(text.split()) for text in texts))

    def _direction(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(f"{self.dimension} {word}".encode()).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(self.dimension)


@contextmanager
def words_known(monkeypatch: Any) -> Iterator[None]:
    """The registry knows both, and forgets them at the end."""
    monkeypatch.setitem(registry.KINDS, "words:", Words)
    yield
    for name in (OLD, NEW, "words:8"):
        registry.forget(name)


def embedded_by_old() -> Any:
    """A collection of TEXTS with its index in use."""
    made = make_collection(encoder=OLD, fast_encoder="")
    add_chunks(made, TEXTS)
    runs.embed_all(made.name)
    builds.build(made.name)
    pointer.swap_to_newest(made.name)
    return again(made)


def again(collection: Collection) -> Any:
    return Collection.objects.select_related("model", "candidate", "previous", "active_version").get(pk=collection.pk)


def prepare(actor: Actor, collection: Collection, spec: str = NEW) -> Any:
    """Begin, and do what the jobs would."""
    migration.begin(actor, collection.name, spec)
    candidates.embed(collection.name, spec)
    candidates.build(collection.name, spec)
    return again(collection)


def person(*permissions: str) -> User:
    user = User.objects.create_user(f"person-{User.objects.count()}")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user
