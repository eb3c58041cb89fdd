"""Texts that cannot be embedded: found among the others, and set aside with the reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import F
from django.db.models.functions import Now

from embeddings.encoders.base import Encoder, EncoderUnavailable, TextRefused
from embeddings.models import BatchState, EmbeddingBatch, EmbeddingRun, SetAside
from embeddings.services.storing import find_bad
from embeddings.vectors import BadVector, Matrix
from jobs import Snooze
from jobs.ledger.errors import JobCancelled, JobMovedOn
from jobs.ledger.records import clean_text

MAX_REASON = 2000
#: What says nothing of the texts.
_NOT_THE_TEXTS = (
    *(EncoderUnavailable, Snooze, JobCancelled, JobMovedOn),
    *(SoftTimeLimitExceeded, MemoryError, DatabaseError, InterfaceError),
)

_LACKING = """
    SELECT c.id, c.content_sha FROM embeddings_chunk AS c
    WHERE c.collection_id = %(collection)s AND c.id BETWEEN %(first)s AND %(last)s
      AND NOT EXISTS (SELECT 1 FROM embeddings_vector AS v
                      WHERE v.model_id = %(model)s AND v.content_sha = c.content_sha)
      AND NOT EXISTS (SELECT 1 FROM embeddings_setaside AS s
                      WHERE s.model_id = %(model)s AND s.content_sha = c.content_sha)
    ORDER BY c.id
"""


@dataclass
class Made:
    """vectors: shape (m, dimension), of the texts at `places`. refused: why not, by place."""

    vectors: Matrix
    places: list[int]
    refused: dict[int, str] = field(default_factory=dict)
    tokens: int = 0
    dollars: float = 0.0


def encode_what_can_be(encoder: Encoder, texts: Sequence[str]) -> Made:
    """Embed texts, leaving out those that the encoder refuses, fails on alone, or makes no vector of.

    Raises what the encoder raised if it could embed none of several, or failed on a single one: that may pass.
    """
    dimension = encoder.identity.dimension
    parts, places, refused, failed = [], [], dict[int, str](), dict[int, Exception]()
    tokens, dollars = 0, 0.0
    waiting = [list(range(len(texts)))] if texts else []
    while waiting:
        part = waiting.pop()
        try:
            encoded = encoder.encode([texts[place] for place in part])
        except TextRefused as exc:
            place = part.pop(exc.index)
            refused[place] = str(exc)
            waiting += [part] if part else []
            continue
        except _NOT_THE_TEXTS:
            raise
        except Exception as exc:
            if len(part) == 1:
                failed[part[0]] = exc
            else:
                waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
            continue
        tokens, dollars = tokens + encoded.tokens, dollars + encoded.dollars
        bad = find_bad(encoded.vectors, dimension)
        for row, what in bad.items():
            if len(part) == 1:
                failed[part[row]] = BadVector(f"its vector {what}")
            else:
                waiting.append([part[row]])
        good = [row for row in range(len(part)) if row not in bad]
        parts.append(encoded.vectors[good])
        places += [part[row] for row in good]
    if failed and not places:
        raise next(iter(failed.values()))
    refused |= {place: _why(exc) for place, exc in failed.items()}
    vectors = np.concatenate(parts) if parts else np.empty((0, dimension), dtype=np.float32)
    return Made(vectors, places, refused, tokens, dollars)


def _why(exc: Exception) -> str:
    return str(exc) if isinstance(exc, BadVector) else f"{type(exc).__name__}: {exc}"


def set_aside(run: EmbeddingRun, reasons: Iterable[tuple[bytes, int, str]]) -> None:
    """Leave contents out of runs from now on. reasons: content, a chunk of it, and why."""
    assert run.model_id is not None
    rows = [
        SetAside(
            model_id=run.model_id,
            content_sha=sha,
            chunk_id=chunk_id,
            collection_id=run.collection_id,
            reason=clean_text(reason)[:MAX_REASON],
            run=run,
        )
        for sha, chunk_id, reason in reasons
    ]
    # In one order, as vectors: two runs may set the same contents aside.
    SetAside.objects.bulk_create(sorted(rows, key=lambda row: bytes(row.content_sha)), ignore_conflicts=True)


def split(run: EmbeddingRun, batch: EmbeddingBatch, reason: str) -> None:
    """Have a batch that cannot be embedded tried in two halves; set a single content aside.

    The caller holds both rows.
    """
    with connection.cursor() as cursor:
        given = {"collection": run.collection_id, "model": run.model_id}
        cursor.execute(_LACKING, {**given, "first": batch.first_id, "last": batch.last_id})
        lacking = [(chunk_id, bytes(sha)) for chunk_id, sha in cursor.fetchall()]
    contents = {sha for _, sha in lacking}
    aside = 0
    if not lacking:
        batch.state = BatchState.DONE
    elif len(contents) == 1:
        batch.state, aside = BatchState.SET_ASIDE, len(lacking)
        set_aside(run, [(lacking[0][1], lacking[0][0], reason)])
    else:
        batch.state = BatchState.SPLIT
        middle = len(lacking) // 2
        EmbeddingBatch.objects.bulk_create(_batch_of(run, half) for half in (lacking[:middle], lacking[middle:]))
    others = 0 if batch.state == BatchState.SPLIT else aside
    still = len(lacking) if batch.state == BatchState.SPLIT else 0
    EmbeddingBatch.objects.filter(pk=batch.pk).update(
        state=batch.state, error=clean_text(reason)[:MAX_REASON], finished_at=Now()
    )
    EmbeddingRun.objects.filter(pk=run.pk).update(
        encoded=F("encoded") + max(0, batch.size - others - still), set_aside=F("set_aside") + aside
    )


def _batch_of(run: EmbeddingRun, chunks: Sequence[tuple[int, bytes]]) -> EmbeddingBatch:
    return EmbeddingBatch(run=run, first_id=chunks[0][0], last_id=chunks[-1][0], size=len(chunks))
