"""What an encoder is, and the errors that all of them raise."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from embeddings.vectors import Matrix


class EncoderUnavailable(RuntimeError):
    """The encoder cannot be used on this machine; the message says what to install or set."""


class ProviderBusy(EncoderUnavailable):
    """A provider asks to be left alone for a while, or cannot be reached. seconds: when to ask again."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds


class TextRefused(ValueError):
    """The encoder cannot embed one text. index: which of those it was given."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


@dataclass(frozen=True)
class Encoded:
    """vectors: shape (n, dimension), unit length, in the order of the texts. dollars: a paid provider's price."""

    vectors: Matrix
    tokens: int
    dollars: float = 0.0


@dataclass(frozen=True)
class Identity:
    """What tells one model from another, and what is shown of it; see `EmbeddingModel`.

    digest: SHA-256, hexadecimal, over weights and everything else that makes the vectors.
    """

    spec: str
    digest: str
    dimension: int
    parameters: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)


class Encoder(Protocol):
    """Makes vectors of texts, in one thread. Made after a fork, never before."""

    identity: Identity

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts, in the order and batches that suit the encoder.

        A text that is longer than the encoder takes is cut. Raises TextRefused for one that cannot be embedded (then
        nothing is returned for the others), ProviderBusy or EncoderUnavailable when a provider does not serve.
        """
        ...
