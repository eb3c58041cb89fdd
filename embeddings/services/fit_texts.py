"""The texts that a static table is fitted to and judged by: chunks that the teacher has embedded already.

Contents are taken in the order of their hashes, so that the same ones are taken again while they are there, and those
that are held out to judge by are never fitted to.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.db import connection

from embeddings.models import EmbeddingModel
from embeddings.vectors import STORED, Matrix, are_directions, from_bytes

#: The first byte of the hash of a text that is held out: a fifth of all.
_HELD_OUT_BELOW = 51
MOST_HELD_OUT = 1_000
#: With fewer texts in all there is nothing to fit to.
LEAST_TEXTS = 1_000
MOST_TEXTS = 10_000
_SKETCH = 100
_CONTAINER = Path("/sys/fs/cgroup")

_TEXTS = """
    SELECT v.content_sha, v.vector, c.text
    FROM embeddings_vector AS v CROSS JOIN LATERAL (
        SELECT substr(d.text, c.start + 1, c."end" - c.start) AS text
        FROM embeddings_chunk AS c JOIN embeddings_document AS d ON d.id = c.document_id
        WHERE c.content_sha = v.content_sha LIMIT 1) AS c
    WHERE v.model_id = %s AND v.content_sha >= %s AND v.content_sha < %s
    ORDER BY v.content_sha LIMIT %s
"""


@dataclass(frozen=True)
class Texts:
    """Some texts with the teacher's vectors of them, shape (n, d), and their hashes."""

    shas: list[bytes]
    texts: list[str]
    vectors: Matrix


@dataclass(frozen=True)
class Corpus:
    """sketch: beginnings of the least hashes, by which two corpora are compared without their texts."""

    fitted: Texts
    held_out: Texts
    sketch: list[str]

    @property
    def is_enough(self) -> bool:
        return len(self.fitted.texts) + len(self.held_out.texts) >= LEAST_TEXTS


def read(teacher: EmbeddingModel) -> Corpus:
    """Read what a teacher has embedded, as much of it as a fit may use here."""
    border = bytes([_HELD_OUT_BELOW])
    held_out = _read(teacher, b"", border, MOST_HELD_OUT)
    fitted = _read(teacher, border, b"\xff" * 33, most_texts())
    least = sorted(hashlib.sha256(sha).hexdigest()[:8] for sha in fitted.shas)
    return Corpus(fitted, held_out, least[:_SKETCH])


def likeness(one: list[str], other: list[str]) -> float:
    """The share of texts that two corpora have in common, from 0 to 1, told from their sketches."""
    if not one or not other:
        return 1.0 if one == other else 0.0
    least = sorted({*one, *other})[:_SKETCH]
    return len(set(least) & set(one) & set(other)) / len(least)


def most_texts() -> int:
    """How many texts a fit may take, so that its two matrices of n² numbers fill at most half of the free memory."""
    return min(MOST_TEXTS, int((_free_bytes() / 2 / 16) ** 0.5))


def _free_bytes() -> int:
    """Of the machine, or of the container that this runs in, whose limit is not the machine's."""
    free = psutil.virtual_memory().available
    try:
        limit = int((_CONTAINER / "memory.max").read_text())
        free = min(free, max(0, limit - int((_CONTAINER / "memory.current").read_text())))
    except (OSError, ValueError):  # no control group of version 2, or one without a limit ("max")
        pass
    return free


def _read(teacher: EmbeddingModel, least: bytes, below: bytes, most: int) -> Texts:
    with connection.cursor() as cursor:
        cursor.execute(_TEXTS, [teacher.pk, least, below, most])
        # A vector that somebody damaged teaches nothing.
        rows = [row for row in cursor.fetchall() if len(row[1]) == STORED.itemsize * teacher.dimension]
    vectors = from_bytes([vector for _, vector, _ in rows], teacher.dimension)
    good = are_directions(vectors)
    rows = [row for row, is_good in zip(rows, good, strict=True) if is_good]
    return Texts([bytes(sha) for sha, _, _ in rows], [text for _, _, text in rows], vectors[good])
