"""Encoders by their spec: minilm, minilm-openvino, static, ngram, sentence-transformers:NAME, openai:MODEL."""

from embeddings.encoders.base import Encoded, Encoder, EncoderUnavailable, Identity, ProviderBusy, TextRefused
from embeddings.encoders.registry import default_spec, load, load_exactly

__all__ = [
    "Encoded",
    "Encoder",
    "EncoderUnavailable",
    "Identity",
    "ProviderBusy",
    "TextRefused",
    "default_spec",
    "load",
    "load_exactly",
]
