"""Encoders, loaded in this process and timed."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from embeddings.bench.texts import LENGTHS, texts
from embeddings.encoders import Encoder, EncoderUnavailable, load, weights

#: Not a spec of ours: the library as its documentation shows it.
STOCK = "sentence_transformers"
STATIC = "static"
#: OpenVINO compiles for each shape of batch when it first comes.
WARM_UP = 256

Encode = Callable[[Sequence[str]], Any]
_encode: Encode
_texts: dict[str, Sequence[str]] = {}


def prepare(spec: str, counts: dict[str, int], number: int, processes: int) -> dict[str, Any]:
    """Load an encoder, and this process' share of so many texts of each length.

    Returns what the encoder says of itself. Raises EncoderUnavailable.
    """
    global _encode
    for length, count in counts.items():
        _texts[length] = texts(LENGTHS[length], count)[number::processes]
    if spec == STOCK:
        _encode = _stock()
        said: dict[str, Any] = {"dimension": 384}
    else:
        encoder = _load_static() if spec == STATIC else load(spec)
        _encode = encoder.encode
        identity = encoder.identity
        said = {"dimension": identity.dimension, "digest": identity.digest[:12], "quality": identity.quality}
    for one in _texts.values():
        _encode(one[: 16 if spec == STOCK else WARM_UP])
    return said


def tokens() -> dict[str, float]:
    """The mean number of tokens of this process' texts, by length."""
    from embeddings.encoders.tokens import count

    return {length: sum(count(mine)) / len(mine) for length, mine in _texts.items()}


def rate(length: str, seconds: float, at_once: int) -> dict[str, float]:
    """Encode texts, `at_once` in a call, for so many seconds and at least one call.

    Returns documents a second of time, and of this process' CPU time.
    """
    mine = _texts[length]
    done, at = 0, 0
    began, used = time.perf_counter(), time.process_time()
    while not done or time.perf_counter() - began < seconds:
        part = mine[at : at + at_once]
        _encode(part)
        done += len(part)
        at = (at + at_once) % len(mine)
    return {
        "per_s": done / (time.perf_counter() - began),
        "per_cpu_s": done / (time.process_time() - used),
    }


def all_of(length: str, at_once: int) -> tuple[float, float]:
    """Encode all texts of a length once. Returns when it began and ended, on the clock that processes share."""
    mine = _texts[length]
    began = time.monotonic()
    for first in range(0, len(mine), at_once):
        _encode(mine[first : first + at_once])
    return began, time.monotonic()


def some(length: str, first: int, count: int) -> int:
    """Encode a stretch of the texts of a length. Returns how many."""
    chosen = _texts[length][first : first + count]
    _encode(chosen)
    return len(chosen)


def _load_static() -> Encoder:
    """The static table; the first one is made here, of MiniLM's vectors of its tokens."""
    try:
        return load(STATIC)
    except EncoderUnavailable as exc:
        from embeddings.services import fitting

        if fitting.fit()["made"] is None:
            raise EncoderUnavailable(str(exc)) from None
        return load(STATIC)


def _stock() -> Encode:
    """The same weights in sentence-transformers, fp32, in batches of 32, in one thread."""
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise EncoderUnavailable(
            "install sentence-transformers and torch: pip install -r requirements/bench.in"
        ) from None
    torch.set_num_threads(1)
    model = SentenceTransformer(str(weights.find().folder), device="cpu")
    return lambda given: model.encode(list(given), batch_size=32, show_progress_bar=False)
