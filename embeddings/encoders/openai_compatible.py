"""Embeddings by OpenAI's API, or by an endpoint that speaks it: text-embeddings-inference, vLLM, Ollama and others."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from django.conf import settings

from embeddings.encoders.base import Encoded, EncoderUnavailable, Identity, TextRefused
from embeddings.encoders.openai_errors import told_apart
from embeddings.vectors import Matrix

if TYPE_CHECKING:
    from openai import OpenAI

# What OpenAI's reference of POST /v1/embeddings allows: inputs and tokens a request, tokens an input. A token is at
# least one byte, so what keeps to these in bytes keeps to them in tokens.
MOST_INPUTS = 2048
MOST_BYTES = 300_000
SURE_BYTES = 8191
_PROBE = "dimension"
_CONNECT_SECONDS, _ONE_TEXT_SECONDS, _MANY_TEXTS_SECONDS = 5.0, 10.0, 60.0
#: Seconds that a request may take where somebody waits for it.
longest_wait: ContextVar[float] = ContextVar("longest_wait", default=_MANY_TEXTS_SECONDS)


class OpenAICompatible:
    """A model of the endpoint at OPENAI_BASE_URL, asked once for its dimension when it is made.

    Raises EncoderUnavailable, and ProviderBusy when it makes sense to ask again. No message holds the key.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._client = _client()
        self._dollars_per_token = float(settings.EMBEDDINGS["DOLLARS_PER_MILLION_TOKENS"]) / 1e6
        dimension = self._ask([_PROBE]).vectors.shape[1]
        base_url = _without_password(settings.EMBEDDINGS["OPENAI_BASE_URL"])
        made_of = {"model": model, "base_url": base_url, "dimension": dimension}
        self.identity = Identity(
            spec=f"openai:{model}",
            digest=hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest(),
            dimension=dimension,
            parameters={**made_of, "dollars_per_million_tokens": self._dollars_per_token * 1e6},
        )

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts in as few requests as the provider's limits allow; see `Encoder`.

        A text that is refused for its length is cut to what is sure to fit.
        """
        vectors = np.empty((len(texts), self.identity.dimension), np.float32)
        tokens = 0
        for first, last in _requests([_bytes(index, text) for index, text in enumerate(texts)]):
            answer = self._ask_in_parts(texts[first:last], first)
            vectors[first:last] = answer.vectors
            tokens += answer.tokens
        return Encoded(vectors, tokens, tokens * self._dollars_per_token)

    def _ask_in_parts(self, texts: Sequence[str], first: int) -> "_Answer":
        """Ask for some texts; where they are refused, for fewer and fewer, to find out which one it is."""
        try:
            answer = self._ask(texts)
        except TextRefused as refused:
            if len(texts) > 1:
                half = len(texts) // 2
                parts = self._ask_in_parts(texts[:half], first), self._ask_in_parts(texts[half:], first + half)
                return _Answer(np.concatenate([part.vectors for part in parts]), sum(part.tokens for part in parts))
            return self._ask_for_less(texts[0], first, str(refused))
        if answer.vectors.shape[1] != self.identity.dimension:
            raise EncoderUnavailable(
                f"{self._model} answered with {answer.vectors.shape[1]} dimensions instead of "
                f"{self.identity.dimension}; another model serves under its name"
            )
        lengths = np.linalg.norm(answer.vectors, axis=1)
        bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(bad):
            raise TextRefused(first + int(bad[0]), f"{self._model} gave a vector that is all zeros or not finite")
        return _Answer(answer.vectors / lengths[:, None], answer.tokens)

    def _ask_for_less(self, text: str, index: int, reason: str) -> "_Answer":
        """One text was refused: cut it if it is long. Raises EncoderUnavailable if any text would be refused."""
        if len(text.encode()) > SURE_BYTES:
            return self._ask_in_parts([text.encode()[:SURE_BYTES].decode(errors="ignore")], index)
        try:
            self._ask([_PROBE])
        except TextRefused:
            raise EncoderUnavailable(f"{self._model} refuses every text: {reason}") from None
        raise TextRefused(index, f"{self._model} refused the text: {reason}")

    def _ask(self, texts: Sequence[str]) -> "_Answer":
        """One request. Raises TextRefused, without saying which, when the provider finds fault with what it is given.

        Its vectors are of any dimension and length.
        """
        from openai import Timeout

        seconds = min(_ONE_TEXT_SECONDS if len(texts) == 1 else _MANY_TEXTS_SECONDS, longest_wait.get())
        with told_apart(self._model):
            answer = self._client.embeddings.with_raw_response.create(
                model=self._model,
                input=list(texts),
                encoding_format="float",
                timeout=Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS)),
            )
        return _read(answer.content, len(texts), self._model)


@dataclass(frozen=True)
class _Answer:
    vectors: Matrix
    tokens: int


def _client() -> "OpenAI":
    from openai import OpenAI

    base_url, key = settings.EMBEDDINGS["OPENAI_BASE_URL"], settings.EMBEDDINGS["OPENAI_API_KEY"]
    if not key and urlsplit(base_url).hostname == "api.openai.com":
        raise EncoderUnavailable("OPENAI_API_KEY is not set; set it, or OPENAI_BASE_URL to an endpoint of your own")
    # Endpoints of one's own mostly take any key. Retries are the jobs', which are counted and seen.
    return OpenAI(api_key=key or "none", base_url=base_url, max_retries=0)


def _bytes(index: int, text: str) -> int:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise TextRefused(index, "the text is not valid Unicode (a lone surrogate)") from None
    if not text.strip():
        raise TextRefused(index, "the text is empty")
    return size


def _requests(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of texts that go into a request each. sizes: bytes of every text."""
    first = total = 0
    for index, size in enumerate(sizes):
        if index > first and (total + size > MOST_BYTES or index - first == MOST_INPUTS):
            yield first, index
            first, total = index, 0
        total += size
    if len(sizes) > first:
        yield first, len(sizes)


def _read(content: bytes, count: int, model: str) -> _Answer:
    """Read an answer to `count` texts. Raises EncoderUnavailable if it is none."""
    try:
        answer = json.loads(content)
        found: dict[int, Any] = {one["index"]: one["embedding"] for one in answer["data"]}
        if len(answer["data"]) != count or set(found) != set(range(count)):
            raise EncoderUnavailable(f"{model} answered with {len(answer['data'])} vectors for {count} texts")
        vectors = np.array([found[index] for index in range(count)], dtype=np.float32)
        tokens = int((answer.get("usage") or {}).get("total_tokens") or 0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderUnavailable(f"{model} answered with something that is no list of embeddings: {error}") from None
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise EncoderUnavailable(f"{model} answered with vectors of the shape {vectors.shape[1:]}")
    return _Answer(vectors, tokens)


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url).rstrip("/")
