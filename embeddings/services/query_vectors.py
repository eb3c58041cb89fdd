"""Vectors of queries, by the very model that an index was made of; the latest are kept."""

import os
import threading
from collections import OrderedDict

from embeddings import encoders
from embeddings.models import EmbeddingModel
from embeddings.services import providers
from embeddings.vectors import Vector

MOST_KEPT = 1_000
#: Kinds of encoder that may be asked by several threads at once: they only wait for a server.
_REMOTE = ("openai:",)

_kept: OrderedDict[tuple[int, str, str], Vector] = OrderedDict()
_lock = threading.Lock()
_turns: dict[str, threading.Lock] = {}


def query_vector(model: EmbeddingModel, text: str) -> Vector:
    """Shape (dimension,), unit length. The first call of a process loads the encoder.

    Raises EncoderUnavailable, as ProviderBusy where asking later may help; TextRefused.
    """
    key = (model.pk, model.digest, text)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
        turn = _turns.setdefault(model.spec, threading.Lock())
    if model.spec.startswith(_REMOTE):
        return providers.ask(str(model), lambda: _encode(model, text, key))
    with turn:
        with _lock:
            found = _kept.get(key)
        return _encode(model, text, key) if found is None else found


def _encode(model: EmbeddingModel, text: str, key: tuple[int, str, str]) -> Vector:
    vector: Vector = encoders.load_exactly(model.spec, model.digest).encode([text]).vectors[0]
    vector.setflags(write=False)
    with _lock:
        _kept[key] = vector
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return vector


def forget() -> None:
    """Start anew, as a process does that has been forked."""
    global _lock
    _lock = threading.Lock()
    _turns.clear()
    _kept.clear()
    providers.forget()


os.register_at_fork(after_in_child=forget)
