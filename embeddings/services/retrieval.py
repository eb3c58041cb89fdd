"""Chunks that may answer a query by vector: the nearest of a snapshot's tiers."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from django.db import connection

from embeddings.encoders.base import EncoderUnavailable, ProviderBusy, TextRefused
from embeddings.engines.base import IndexDamaged
from embeddings.models import EmbeddingModel
from embeddings.services.fusion import Ranked, ranked
from embeddings.serving import stored
from embeddings.serving.delta import contained
from embeddings.serving.snapshot import Snapshot, Tier
from embeddings.vectors import Ids, Vector

#: Two-tier search takes so many of the fast tier, and has the model's own vectors order them.
RERANKED = 100
MAIN, FAST = "main", "fast"

#: Chunk ids and scores, best first.
Found = list[tuple[int, float]]


@dataclass
class ByVector:
    """The nearest chunks of one snapshot: of the model's tier, and of the fast one if it was asked.

    is_all: there are no more.
    """

    main: Found = field(default_factory=list)
    fast: Found = field(default_factory=list)
    is_all: bool = True

    def ids(self) -> list[int]:
        return list({chunk_id for found in (self.main, self.fast) for chunk_id, _ in found})


@dataclass
class Queries:
    """One text, or one vector, as the vectors that the tiers of a snapshot are asked with.

    warnings: why a tier is not asked. retry_seconds: when it may be asked again; 0 where that is not known.
    """

    main: Vector | None = None
    fast: Vector | None = None
    warnings: list[str] = field(default_factory=list)
    retry_seconds: float = 0.0


def embed(snapshot: Snapshot, text: str, *, fast: bool) -> Queries:
    """Embed a query by the models of a snapshot; by the fast one if some chunks have but that, or if it is wanted."""
    queries = Queries()
    if snapshot.main is not None:
        queries.main = _vector(snapshot.main.model, text, queries)
    if snapshot.fast is not None and (fast or len(snapshot.waiting)):
        queries.fast = _vector(snapshot.fast.model, text, queries)
    return queries


def _vector(model: EmbeddingModel, text: str, queries: Queries) -> Vector | None:
    from embeddings.services.query_vectors import query_vector

    try:
        return query_vector(model, text)
    except TextRefused as exc:
        queries.warnings.append(f"{model.spec} cannot embed the query: {exc}")
    except EncoderUnavailable as exc:
        if isinstance(exc, ProviderBusy):
            queries.retry_seconds = exc.seconds
        queries.warnings.append(f"{model.spec} cannot be used: {exc}")
    return None


def nearest(snapshot: Snapshot, queries: Queries, n: int, allowed: Ids | None = None) -> ByVector:
    """The n nearest of the model's tier, and, while chunks wait for the model, the n nearest of the fast tier.

    Of the fast tier all are ranked, so that a chunk that waits does not stand first only because few wait.
    """
    found = ByVector()
    if queries.main is not None and snapshot.main is not None:
        found.main = _ask(snapshot.main, queries.main, n, allowed, queries.warnings)
        found.is_all = len(found.main) < n
    if queries.fast is not None and snapshot.fast is not None and len(snapshot.waiting):
        found.fast = _ask(snapshot.fast, queries.fast, n, allowed, queries.warnings)
        found.is_all &= len(found.fast) < n
    return found


def two_tier(snapshot: Snapshot, queries: Queries, n: int, allowed: Ids | None = None) -> ByVector:
    """The nearest of the fast tier, at least 100; those with a vector of the model ordered by that."""
    found = ByVector()
    if queries.fast is None or snapshot.fast is None:
        return found
    n = max(n, RERANKED)
    found.fast = _ask(snapshot.fast, queries.fast, n, allowed, queries.warnings)
    found.is_all = len(found.fast) < n
    if queries.main is not None and snapshot.main is not None:
        ids, scores = _scores(snapshot.main.model, [chunk_id for chunk_id, _ in found.fast], queries.main)
        order = np.lexsort((ids, -scores))
        found.main = list(zip(ids[order].tolist(), scores[order].tolist(), strict=True))
    return found


def _ask(tier: Tier, query: Vector, n: int, allowed: Ids | None, warnings: list[str]) -> Found:
    try:
        ids, scores = tier.nearest(query, n, allowed)
    except IndexDamaged as exc:
        warnings.append(f"the index cannot be read, what came after it is searched alone: {exc}")
        ids, scores = tier.beside.search(query, n, allowed)
    return list(zip(ids.tolist(), scores.tolist(), strict=True))


def _scores(model: EmbeddingModel, chunk_ids: list[int], query: Vector) -> tuple[Ids, Vector]:
    """Those of the chunks that have a vector of a model, and its products with the query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.id, v.vector FROM embeddings_chunk AS c
            JOIN embeddings_vector AS v ON v.model_id = %s AND v.content_sha = c.content_sha
            WHERE c.id = ANY (%s)
            """,
            [model.pk, chunk_ids],
        )
        rows = cursor.fetchall()
    ids, vectors, _ = stored.read(rows, model.pk, model.dimension)
    return ids, vectors @ query


def ranking_of(found: ByVector, key_of: Callable[[int], int | None], waiting: Ids) -> list[Ranked]:
    """One ranking of both tiers: a chunk that waits for the model has the rank that the fast tier gives it.

    waiting: ascending ids.
    """
    in_model = {chunk_id for chunk_id, _ in found.main}
    ids = np.array([chunk_id for chunk_id, _ in found.fast], dtype=np.int64)
    alone = set(ids[contained(ids, waiting)].tolist())
    fast = [
        one
        for one in ranked(found.fast, key_of, FAST)
        if one.chunk_id not in in_model and (one.chunk_id in alone or not found.main)
    ]
    return [*ranked(found.main, key_of, MAIN), *fast]
