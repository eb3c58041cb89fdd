"""Where the tokens of a text are: word pieces where the default encoder's weights are installed, else words.

Chunks are cut by it, and costs are told by it. The tokenizer is read once a process; it starts no threads.
"""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from embeddings.encoders import texts as texts_
from embeddings.encoders import weights
from embeddings.encoders.base import EncoderUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Read by the tokenizers at each call. Its threads would outnumber the cores, and not live through a fork.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

Spans = NDArray[np.int32]
_WORD = re.compile(r"\w+|[^\w\s]")
#: A longer text is cut for tokenizing at blanks about so far apart, to keep memory small.
PIECE = 50_000


def tokenizer() -> "Tokenizer | None":
    """The default encoder's; None where its weights are not installed. Raises EncoderUnavailable if it is damaged."""
    return _tokenizer_of(settings.EMBEDDINGS["WEIGHTS"])


@cache
def _tokenizer_of(setting: str) -> "Tokenizer | None":
    """setting: where `weights.folder` looks; with another one, texts are cut by another tokenizer."""
    place = weights.folder()
    return read_tokenizer(place / "tokenizer.json") if place is not None and weights.are_installed() else None


def read_tokenizer(file: Path) -> "Tokenizer":
    """Without padding and cutting. Raises EncoderUnavailable if the file is damaged."""
    from tokenizers import Tokenizer

    try:
        read = Tokenizer.from_file(str(file))
    except Exception as exc:  # the library raises nothing narrower
        raise EncoderUnavailable(f"{file} cannot be read: {exc}; {weights.INSTALL}") from None
    read.no_padding()
    read.no_truncation()
    return read


def spans(texts: Sequence[str]) -> list[Spans]:
    """Where each text's tokens begin and end, in characters: per text shape (tokens, 2), without marks of the model.

    Raises TextRefused for what is damaged Unicode; a blank text has no tokens.
    """
    known = tokenizer()
    if known is None:
        return [_words(text) for text in texts]
    texts_.check_unicode(texts)
    if max(map(len, texts), default=0) <= PIECE:
        found = known.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(one.offsets, dtype=np.int32).reshape(-1, 2) for one in found]
    return [_spans_of_long(known, text) for text in texts]


def count(texts: Sequence[str]) -> list[int]:
    """How many tokens each text has, without marks of the model. Raises TextRefused for what is damaged Unicode."""
    known = tokenizer()
    if known is None:
        return [sum(1 for _ in _WORD.finditer(text)) for text in texts]
    texts_.check_unicode(texts)
    if max(map(len, texts), default=0) <= PIECE:
        return [len(one) for one in known.encode_batch_fast(list(texts), add_special_tokens=False)]
    return [sum(len(known.encode(part, add_special_tokens=False)) for _, part in _parts(text)) for text in texts]


def _words(text: str) -> Spans:
    return np.array([match.span() for match in _WORD.finditer(text)], dtype=np.int32).reshape(-1, 2)


def _spans_of_long(known: "Tokenizer", text: str) -> Spans:
    found = []
    for start, part in _parts(text):
        encoded = known.encode(part, add_special_tokens=False)
        found.append(np.array(encoded.offsets, dtype=np.int32).reshape(-1, 2) + np.int32(start))
    return np.concatenate(found) if found else np.empty((0, 2), np.int32)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Cut before a blank where there is one, so that no word is cut."""
    start = 0
    while start < len(text):
        end = start + PIECE
        if end < len(text):
            blank = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = blank if blank > start else end
        yield start, text[start:end]
        start = end
