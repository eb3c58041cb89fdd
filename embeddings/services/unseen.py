"""Chunks that no trigger saw become searchable, so that readers of an index would not hear of them before a build.

Of two transactions at once, one that brings a chunk and one that brings the vector of its content, neither sees the
other's row. Whoever looks after both have committed writes the `Change`; one too many does no harm.
"""

from django.db import connection

#: A transaction that brings documents or vectors takes less.
MARGIN_SECONDS = 120
MOST_DOCUMENTS = 20_000
_NOTE = """
    INSERT INTO embeddings_change (collection_id, model_id, chunk_id)
    SELECT c.collection_id, v.model_id, c.id
    FROM embeddings_chunk AS c JOIN embeddings_vector AS v ON v.content_sha = c.content_sha
"""
_UNKNOWN = """
    NOT EXISTS (SELECT 1 FROM embeddings_change AS n WHERE n.chunk_id = c.id AND n.model_id = v.model_id)
"""
_OF_RANGE = f"""
    {_NOTE} WHERE v.model_id = %(model)s AND c.collection_id = %(collection)s
        AND c.id BETWEEN %(first)s AND %(last)s
        AND v.created_at >= (SELECT created_at FROM embeddings_embeddingrun WHERE id = %(run)s)
                            - %(margin)s * interval '1 second'
        AND {_UNKNOWN}
"""  # noqa: S608  (constants only)
_OF_NEWEST = f"""
    WITH since AS MATERIALIZED (
        SELECT COALESCE((SELECT created_at FROM jobs_job WHERE id = %(job)s), clock_timestamp())
               - %(margin)s * interval '1 second' AS at),
    newest AS MATERIALIZED (
        SELECT id FROM embeddings_document
        WHERE collection_id = %(collection)s AND updated_at >= (SELECT at FROM since)
        ORDER BY updated_at DESC, id DESC LIMIT %(most)s)
    {_NOTE} WHERE c.document_id IN (SELECT id FROM newest) AND v.created_at >= (SELECT at FROM since) AND {_UNKNOWN}
"""  # noqa: S608  (constants only)


def note_range(run_id: int, collection_id: int, model_id: int, first_id: int, last_id: int) -> int:
    """For a batch, once its vectors are written, in that transaction: others may have written some of them before.

    Returns how many chunks nobody knew of.
    """
    given: dict[str, str | int] = {
        "run": run_id,
        "collection": collection_id,
        "model": model_id,
        "first": first_id,
        "last": last_id,
    }
    return _note(_OF_RANGE, {**given, "margin": MARGIN_SECONDS})


def note_newest(collection_id: int, job_id: str) -> int:
    """For a job that follows new documents, once it has planned what lacks a vector. Returns how many chunks."""
    given: dict[str, str | int] = {
        "collection": collection_id,
        "job": job_id,
        "margin": MARGIN_SECONDS,
        "most": MOST_DOCUMENTS,
    }
    return _note(_OF_NEWEST, given)


def _note(statement: str, given: dict[str, str | int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        return int(cursor.rowcount)
