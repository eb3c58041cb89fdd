"""Finds an encoder by its spec, and keeps it for the life of the process."""

import os
import re
import threading
from collections.abc import Callable

from django.conf import settings

from embeddings.encoders.base import Encoder, EncoderUnavailable

AUTO = "auto"


def _minilm(_: str) -> Encoder:
    from embeddings.encoders.minilm import MiniLM

    return MiniLM.load()


def _openvino(_: str) -> Encoder:
    from embeddings.encoders.openvino import OpenVinoMiniLM

    return OpenVinoMiniLM.load()


def _static(digest: str) -> Encoder:
    from embeddings.encoders.static import StaticTable

    return StaticTable.load(digest)


def _ngram(_: str) -> Encoder:
    from embeddings.encoders.ngram import NgramHash

    return NgramHash()


def _sentence_transformers(name: str) -> Encoder:
    from embeddings.encoders.sentence_transformers import SentenceTransformers

    return SentenceTransformers(name)


def _openai(name: str) -> Encoder:
    from embeddings.encoders.openai_compatible import OpenAICompatible

    return OpenAICompatible(name)


#: Kinds of encoder. Those that end in a colon take a name; static:DIGEST is one table, static the newest.
KINDS: dict[str, Callable[[str], Encoder]] = {
    "minilm": _minilm,
    "minilm-openvino": _openvino,
    "static": _static,
    "static:": _static,
    "ngram": _ngram,
    "sentence-transformers:": _sentence_transformers,
    "openai:": _openai,
}

#: Of a digest, in a spec that is pinned to it: minilm@0123456789abcdef.
PIN_DIGITS = 16
_PIN = re.compile(rf"@[0-9a-f]{{{PIN_DIGITS}}}\Z")

_loaded: dict[str, Encoder] = {}
_lock = threading.Lock()
_process = 0


class UnknownEncoder(ValueError):
    """No encoder is known by that spec."""


def pinned(spec: str, digest: str) -> str:
    """A spec that gives the encoder of that digest or none, also when the bare spec has come to mean another one."""
    return f"static:{digest}" if spec == "static" else f"{spec}@{digest[:PIN_DIGITS]}"


def unpinned(spec: str) -> str:
    """The spec without the digest that it is pinned to."""
    return "static" if spec.startswith("static:") else _PIN.sub("", spec)


def check_spec(spec: str) -> str:
    """Return the spec. Raises UnknownEncoder, naming what there is."""
    kind, colon, name = _PIN.sub("", spec).partition(":")
    if kind + colon not in KINDS or (colon and not name.strip()):
        known = ", ".join(f"{kind}NAME" if kind.endswith(":") else kind for kind in KINDS)
        raise UnknownEncoder(f"unknown encoder {spec!r:.100}; choose from: {known}")
    return spec


def default_spec() -> str:
    """EMBEDDING_ENCODER; with `auto`, MiniLM where its weights are, else the one that needs none."""
    spec: str = settings.EMBEDDINGS["ENCODER"]
    if spec != AUTO:
        return check_spec(spec)
    from embeddings.encoders.weights import are_installed

    return "minilm" if are_installed() else "ngram"


def load(spec: str = "") -> Encoder:
    """The encoder of a spec (empty: the default one), made at the first call in this process.

    Raises UnknownEncoder, EncoderUnavailable.
    """
    global _process
    spec = check_spec(spec) if spec else default_spec()
    if spec == "static":
        spec = _newest_table()
    if _PIN.search(spec):
        return _load_pinned(spec)
    with _lock:
        if _process != os.getpid():
            # What a parent loaded has threads and locks that a fork does not carry over.
            _loaded.clear()
            _process = os.getpid()
        if spec not in _loaded:
            kind, colon, name = spec.partition(":")
            _loaded[spec] = KINDS[kind + colon](name)
        return _loaded[spec]


def _newest_table() -> str:
    """`static` by its digest, so that a process that lives long notices a new one."""
    from embeddings.encoders.static import newest

    digest = newest()
    return f"static:{digest}" if digest else "static"


def load_exactly(spec: str, digest: str) -> Encoder:
    """The encoder of an `EmbeddingModel`: what made its vectors, so that a query is embedded alike.

    Raises UnknownEncoder; EncoderUnavailable, also when the encoder of that spec has become another one.
    """
    if spec == "static":
        return load(f"static:{digest}")
    encoder = load(spec)
    if encoder.identity.digest != digest:
        raise EncoderUnavailable(
            f"{spec} is {encoder.identity.digest[:12]} here, and the vectors are those of {digest[:12]}; "
            "bring back what it was made of, or migrate the collection to the new one"
        )
    return encoder


def _load_pinned(spec: str) -> Encoder:
    bare, _, digest = spec.rpartition("@")
    encoder = load(bare)
    if not encoder.identity.digest.startswith(digest):
        raise EncoderUnavailable(f"{bare} is {encoder.identity.digest[:12]} here, and not {digest[:12]} any more")
    return encoder


def forget(spec: str) -> None:
    """Have the next `load` make it anew, because it was built again."""
    with _lock:
        _loaded.pop(spec, None)


__all__ = [
    "KINDS",
    "EncoderUnavailable",
    "UnknownEncoder",
    "check_spec",
    "default_spec",
    "forget",
    "load",
    "load_exactly",
    "pinned",
    "unpinned",
]
