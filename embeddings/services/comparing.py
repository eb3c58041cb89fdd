"""Shadow queries: the same questions to two models side by side, before anybody is given the answers of the second."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection

from embeddings import encoders
from embeddings.engines import Searcher, engine
from embeddings.models import Chunk, Collection, EmbeddingModel, IndexVersion, ModelComparison
from embeddings.services import comparison_samples, store
from embeddings.services.collections import find
from embeddings.services.migration_state import CandidateNotReady, sides
from jobs import job

TOP = 10
#: Beyond the ten, for chunks that have gone since the index was built and the chunk that a query was taken from.
ASKED = 30
SAMPLED = 100
SAMPLES_KEPT = 10
MOST_QUERIES = 1000

# The first chunk at or after each of some random ids: each is one look into the index of (collection, id).
_SAMPLE = """
    WITH ends AS (
        SELECT (SELECT min(id) FROM embeddings_chunk WHERE collection_id = %(collection)s) AS lowest,
               (SELECT max(id) FROM embeddings_chunk WHERE collection_id = %(collection)s) AS highest),
    points AS MATERIALIZED (
        SELECT lowest + floor(random() * (highest - lowest + 1))::bigint AS id
        FROM ends, generate_series(1, %(many)s) WHERE lowest IS NOT NULL)
    SELECT DISTINCT ON (c.id) c.id, substr(d.text, c.start + 1, least(c."end" - c.start, %(longest)s))
    FROM points CROSS JOIN LATERAL (
        SELECT id, document_id, start, "end" FROM embeddings_chunk
        WHERE collection_id = %(collection)s AND id >= points.id ORDER BY id LIMIT 1) AS c
    JOIN embeddings_document AS d ON d.id = c.document_id
"""


@dataclass(frozen=True)
class Query:
    """A shadow query. chunk_id: what it was taken from, which is no answer to it; None for a given one."""

    text: str
    chunk_id: int | None = None


@dataclass
class Side:
    """One model's answers. tops: for each query its best chunks with scores; times in ms, encoding and search."""

    encoder: str
    version: IndexVersion
    tops: list[list[tuple[int, float]]]
    times: list[float]


def compare(name: str, queries: Sequence[str] | None = None) -> dict[str, Any]:
    """Ask both models of a migration, and keep what came of it. In a worker: it loads both encoders.

    queries: what to ask; None samples the collection's own texts. Raises UnknownCollection, NoMigration,
    CandidateNotReady, EncoderUnavailable, IndexDamaged.
    """
    collection = find(name)
    current, other = sides(collection)
    asked = [Query(text) for text in queries] if queries else _sample(collection)
    if not asked:
        raise CandidateNotReady(f"collection {name!r} has no documents to take queries from")
    shares = ((current, 0.0), (other, 0.5))
    answers = [_ask(collection, version, asked, share) for version, share in shares]
    comparison = _keep(collection, asked, *answers)
    return {
        "comparison": comparison.pk,
        "queries": comparison.queries,
        "overlap": comparison.overlap,
        "overlap_p5": comparison.overlap_p5,
        "current_ms": comparison.current_ms,
        "candidate_ms": comparison.candidate_ms,
    }


def _sample(collection: Collection) -> list[Query]:
    values = {"collection": collection.pk, "many": SAMPLED, "longest": comparison_samples.LONGEST_QUERY}
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLE, values)
        rows = cursor.fetchall()
    return [Query(comparison_samples.first_sentence(text), chunk_id) for chunk_id, text in rows if text.strip()]


def _ask(collection: Collection, version: IndexVersion, asked: Sequence[Query], share: float) -> Side:
    """All queries to one version. share: of the job's progress so far."""
    model: EmbeddingModel = version.model
    encoder = encoders.load_exactly(model.spec, model.digest)
    searcher = _open(version)
    side = Side(model.spec, version, [], [])
    try:
        for number, query in enumerate(asked):
            started = time.perf_counter()
            vectors = encoder.encode([query.text]).vectors
            ids, scores = searcher.search(vectors, min(ASKED, max(searcher.count, 1)))
            side.times.append(1000 * (time.perf_counter() - started))
            side.tops.append(
                [(int(one), float(score)) for one, score in zip(ids[0], scores[0], strict=True) if one >= 0]
            )
            job.progress(share + 0.5 * number / len(asked), f"{model.spec}: query {number + 1} of {len(asked)}")
    finally:
        searcher.close()
    return side


def _open(version: IndexVersion) -> Searcher:
    return engine(version.engine).open(version, store.fetch(version))


def _keep(collection: Collection, asked: Sequence[Query], current: Side, other: Side) -> ModelComparison:
    there = _still_there(collection, {chunk for side in (current, other) for top in side.tops for chunk, _ in top})
    tops = [
        tuple(_best(side.tops[number], query, there) for side in (current, other)) for number, query in enumerate(asked)
    ]
    overlaps = np.array([_overlap(ours, theirs) for ours, theirs in tops])
    # Those that differ the most say the most; some of the middle beside them.
    order = np.argsort(overlaps, kind="stable")
    shown = [*order[: SAMPLES_KEPT // 2], *order[len(order) // 2 :][: SAMPLES_KEPT // 2]]
    samples = [
        comparison_samples.kept(asked[number].text, asked[number].chunk_id, float(overlaps[number]), *tops[number])
        for number in dict.fromkeys(int(one) for one in shown)
    ]
    return ModelComparison.objects.create(
        collection=collection,
        current=current.version.model,
        candidate=other.version.model,
        queries=len(asked),
        overlap=float(overlaps.mean()),
        overlap_p5=float(np.percentile(overlaps, 5)),
        current_ms=float(np.median(current.times)),
        candidate_ms=float(np.median(other.times)),
        samples=samples,
    )


def _best(top: list[tuple[int, float]], query: Query, there: set[int]) -> list[tuple[int, float]]:
    """The ten that are still there, without the chunk that the query was taken from."""
    return [answer for answer in top if answer[0] in there and answer[0] != query.chunk_id][:TOP]


def _overlap(ours: list[tuple[int, float]], theirs: list[tuple[int, float]]) -> float:
    """Shared part of both lists, 0 to 1; two empty ones agree."""
    most = max(len(ours), len(theirs))
    return len({chunk for chunk, _ in ours} & {chunk for chunk, _ in theirs}) / most if most else 1.0


def _still_there(collection: Collection, chunk_ids: set[int]) -> set[int]:
    return set(Chunk.objects.filter(pk__in=chunk_ids, collection=collection).values_list("pk", flat=True))
