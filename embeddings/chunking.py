"""Cuts texts into chunks that an encoder can take."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Spans = NDArray[np.int32]
    Positions = NDArray[np.int64]

#: What is longer is counted as several tokens: an encoder sees little of such a word, and a chunk stays bounded.
LONGEST_TOKEN = 16
LONGEST_GAP = 64
#: A text of fewer characters a token than this is counted first: most of these are one piece.
SHORT_TOKEN = 4

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？]|\n\s*")
_WORD = re.compile(r"\s+")


class Piece(NamedTuple):
    """start, end: positions in the text, in characters; the text between them begins and ends with no whitespace."""

    start: int
    end: int
    n_tokens: int


def cut(text: str, chunk_tokens: int, overlap: int) -> list[Piece]:
    """Cut a text into pieces of up to `chunk_tokens` tokens, of which neighbours share about `overlap`.

    A piece ends at the end of a paragraph, else of a sentence, else of a word, if one is among its last quarter of
    tokens. All of the text but whitespace is in some piece. Returns nothing for a text of whitespace alone. Takes time
    in proportion to the text. Raises ValueError unless 0 <= overlap < chunk_tokens / 2.
    """
    return cut_each([text], chunk_tokens, overlap)[0]


def cut_each(texts: Sequence[str], chunk_tokens: int, overlap: int) -> list[list[Piece]]:
    """The same for several texts at once, which costs a tokenizer less."""
    from embeddings.encoders import tokens

    if not 0 <= overlap < chunk_tokens / 2:
        raise ValueError(f"an overlap of {overlap} tokens does not fit chunks of {chunk_tokens}; give less than half")
    pieces: list[list[Piece]] = [[] for _ in texts]
    # Counting is cheaper than finding places, and most short texts are one piece.
    short = [index for index, text in enumerate(texts) if len(text) <= chunk_tokens * SHORT_TOKEN]
    for index, n_tokens in zip(short, tokens.count([texts[index] for index in short]), strict=True):
        whole = _stripped(texts[index], 0, len(texts[index]), n_tokens)
        if whole and n_tokens <= chunk_tokens:
            pieces[index].append(whole)
    long = [index for index, text in enumerate(texts) if not pieces[index] and not text.isspace()]
    for index, spans in zip(long, tokens.spans([texts[index] for index in long]), strict=True):
        pieces[index] = _pieces(texts[index], spans, chunk_tokens, overlap)
    return pieces


def _pieces(text: str, spans: "Spans", chunk_tokens: int, overlap: int) -> list[Piece]:
    starts = _starts(text, spans)
    found: list[Piece] = []
    for first, last in _ranges(text, starts, chunk_tokens, overlap):
        piece = _stripped(text, int(starts[first]), _end(text, starts, last), last - first)
        # Around long stretches of blanks, two ranges may differ by blanks alone.
        if piece and not (found and piece.end <= found[-1].end):
            found.append(piece)
    return found


def _ranges(text: str, starts: "Positions", chunk_tokens: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Ranges of tokens, the second end exclusive."""
    import numpy as np

    n_tokens = len(starts)
    breaks = [
        np.searchsorted(starts, np.fromiter((match.end() for match in kind.finditer(text)), dtype=np.int64))
        for kind in (_PARAGRAPH, _SENTENCE, _WORD)
    ]
    first = 0
    while n_tokens - first > chunk_tokens:
        latest = first + chunk_tokens
        last = _last_break(breaks, latest - chunk_tokens // 4, latest)
        yield first, last
        first = _first_break(breaks[-1], last - overlap, last)
    yield first, n_tokens


def _last_break(breaks: "list[Positions]", earliest: int, latest: int) -> int:
    """The latest place of the best kind between two tokens, both included; the latest itself if there is none."""
    for places in breaks:
        index = int(places.searchsorted(latest, side="right")) - 1
        if index >= 0 and places[index] >= earliest:
            return int(places[index])
    return latest


def _first_break(words: "Positions", earliest: int, latest: int) -> int:
    """The first beginning of a word between two tokens, both included; the earlier itself if there is none."""
    index = int(words.searchsorted(earliest))
    return int(words[index]) if index < len(words) and words[index] <= latest else earliest


def _starts(text: str, spans: "Spans") -> "Positions":
    """Where tokens begin, from 0 on; a long one, and a long stretch that no token covers, begin several times."""
    import numpy as np

    begins, ends = spans[:, 0].astype(np.int64), spans[:, 1].astype(np.int64)
    # Tokenizers leave out what they do not know.
    gaps, gap_ends = np.concatenate(([0], ends)), np.concatenate((begins, [len(text)]))
    wide = gap_ends - gaps > LONGEST_GAP
    steps = [
        np.zeros(1, dtype=np.int64),
        _steps(begins, ends, LONGEST_TOKEN),
        _steps(gaps[wide], gap_ends[wide], LONGEST_GAP),
    ]
    return np.unique(np.concatenate(steps))


def _steps(begins: "Positions", ends: "Positions", length: int) -> "Positions":
    """Each range's begin, and every `length` characters of it."""
    import numpy as np

    parts = np.maximum(1, -(-(ends - begins) // length))
    within = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    return np.repeat(begins, parts) + within * length


def _end(text: str, starts: "Positions", last: int) -> int:
    return int(starts[last]) if last < len(starts) else len(text)


def _stripped(text: str, start: int, end: int, n_tokens: int) -> Piece | None:
    part = text[start:end]
    kept = part.strip()
    if not kept:
        return None
    start += len(part) - len(part.lstrip())
    return Piece(start, start + len(kept), max(1, n_tokens))
