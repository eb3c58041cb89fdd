"""Measures every collection now and then: what is in it, what is embedded, what lies beside the index."""

from typing import Any

from django.db import connection

from embeddings.models import Collection, CollectionStatistics
from jobs import job

KEEP_DAYS = 30
PRUNED_AT_ONCE = 5_000

# For all collections at once: one pass over documents, one over chunks and vectors.
_MEASURE = """
    WITH of_documents AS (
        SELECT collection_id, count(*) AS documents FROM embeddings_document GROUP BY collection_id),
    of_chunks AS (
        SELECT c.collection_id, count(*) AS chunks, sum(c.n_tokens) AS tokens, count(v.model_id) AS embedded
        FROM embeddings_chunk AS c JOIN embeddings_collection AS k ON k.id = c.collection_id
        LEFT JOIN embeddings_vector AS v ON v.model_id = k.model_id AND v.content_sha = c.content_sha
        GROUP BY c.collection_id),
    aside AS (
        SELECT s.collection_id, count(*) AS contents
        FROM embeddings_setaside AS s JOIN embeddings_collection AS k ON k.id = s.collection_id
        WHERE s.model_id = k.model_id GROUP BY s.collection_id),
    of_versions AS (
        SELECT collection_id, sum(bytes) AS bytes FROM embeddings_indexversion WHERE state = 'ready'
        GROUP BY collection_id)
    INSERT INTO embeddings_collectionstatistics (
        collection_id, at, documents, chunks, tokens, embedded, set_aside, beside_index, vector_bytes, index_bytes)
    SELECT k.id, clock_timestamp(), coalesce(d.documents, 0), coalesce(c.chunks, 0), coalesce(c.tokens, 0),
           coalesce(c.embedded, 0), coalesce(a.contents, 0),
           CASE WHEN active.id IS NULL THEN coalesce(c.embedded, 0) ELSE (
               SELECT count(DISTINCT n.chunk_id) FROM embeddings_change AS n
               WHERE n.collection_id = k.id AND n.xid >= active.watermark::text::xid8 AND n.model_id = active.model_id
                 AND EXISTS (SELECT 1 FROM embeddings_chunk AS still WHERE still.id = n.chunk_id)) END,
           coalesce(c.embedded, 0) * coalesce(m.dimension, 0) * 2, coalesce(i.bytes, 0)
    FROM embeddings_collection AS k
    LEFT JOIN of_documents AS d ON d.collection_id = k.id
    LEFT JOIN of_chunks AS c ON c.collection_id = k.id
    LEFT JOIN aside AS a ON a.collection_id = k.id
    LEFT JOIN of_versions AS i ON i.collection_id = k.id
    LEFT JOIN embeddings_embeddingmodel AS m ON m.id = k.model_id
    LEFT JOIN embeddings_indexversion AS active ON active.id = k.active_version_id
    ORDER BY k.id
"""

# The oldest rows are those of the lowest ids, so nothing else is read.
_PRUNE = f"""
    DELETE FROM embeddings_collectionstatistics
    WHERE at < clock_timestamp() - interval '{KEEP_DAYS} days' AND id IN (
        SELECT id FROM embeddings_collectionstatistics ORDER BY id LIMIT {PRUNED_AT_ONCE})
"""  # noqa: S608  (constants only)


def collect() -> dict[str, Any]:
    """Write a row for each collection, and forget rows older than a month. Returns how many of either."""
    with connection.cursor() as cursor:
        cursor.execute(_MEASURE)
        measured = cursor.rowcount
    return {"collections": measured, "pruned": _prune()}


def _prune() -> int:
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_PRUNE)
            gone = cursor.rowcount
        total += gone
        if gone < PRUNED_AT_ONCE:
            return total
        job.check_cancelled()


def newest(collection: Collection) -> CollectionStatistics | None:
    """The latest row, for the collection's page; None before the first."""
    return CollectionStatistics.objects.filter(collection=collection).order_by("-at").first()
