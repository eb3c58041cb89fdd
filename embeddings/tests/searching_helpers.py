"""Collections with documents that are embedded by the encoder that needs nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from embeddings import encoders
from embeddings.models import Collection, EmbeddingModel
from embeddings.services import builds, documents, pointer
from embeddings.services.storing import store_vectors
from embeddings.tests.factories import make_collection

MODEL = "ngram"


def ngram_model() -> EmbeddingModel:
    identity = encoders.load(MODEL).identity
    return EmbeddingModel.objects.get_or_create(
        spec=identity.spec, digest=identity.digest, defaults={"dimension": identity.dimension}
    )[0]


def searchable(texts: Sequence[str] | Mapping[str, str] = (), **fields: Any) -> Collection:
    """A collection whose documents are embedded; ids are d1, d2 … where none are given."""
    fields = {"model": ngram_model(), "fast_encoder": "", "recall_target": 0.5, **fields}
    collection = make_collection(**fields)
    if texts:
        by_id = texts if isinstance(texts, Mapping) else {f"d{n}": text for n, text in enumerate(texts, 1)}
        put(collection, [{"id": key, "text": text} for key, text in by_id.items()])
    return collection


def put(collection: Collection, items: Sequence[dict[str, Any]], *, embedded: bool = True) -> None:
    result = documents.put(None, collection, items)
    assert not result.errors
    if embedded:
        embed(collection, collection.model)


def embed(collection: Collection, model: EmbeddingModel | None, spec: str = MODEL) -> int:
    """Store a vector of each chunk that has none."""
    assert model is not None, "give the collection a model first"
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT c.content_sha, substr(d.text, c.start + 1, c."end" - c.start)
            FROM embeddings_chunk c JOIN embeddings_document d ON d.id = c.document_id
            WHERE c.collection_id = %s AND NOT EXISTS (
                SELECT 1 FROM embeddings_vector v WHERE v.model_id = %s AND v.content_sha = c.content_sha)
            """,
            [collection.pk, model.pk],
        )
        rows = cursor.fetchall()
    if not rows:
        return 0
    vectors = encoders.load(spec).encode([text for _, text in rows]).vectors
    return store_vectors(model, [bytes(sha) for sha, _ in rows], vectors)


#: What somebody may make of a stored vector, in SQL.
DAMAGES = {
    "NaN": r"overlay(vector placing '\x007e'::bytea from 5)",
    "infinite": r"overlay(vector placing '\x007c'::bytea from 1)",
    "minus infinite": r"overlay(vector placing '\x00fc'::bytea from 1)",
    "huge": r"overlay(vector placing '\xff7b'::bytea from 1)",
    "zeros": "decode(repeat('00', octet_length(vector)), 'hex')",
    "too short": "substr(vector, 1, octet_length(vector) - 2)",
    "too long": r"vector || '\x0000'::bytea",
    "empty": r"''::bytea",
}


def damage(model: EmbeddingModel, how: str, *chunk_ids: int) -> None:
    """Damage what is stored of chunks, as no trigger notices."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE embeddings_vector SET vector = {DAMAGES[how]} WHERE model_id = %s"
            " AND content_sha IN (SELECT content_sha FROM embeddings_chunk WHERE id = ANY (%s))",
            [model.pk, list(chunk_ids)],
        )
        assert cursor.rowcount


def swapped(collection: Collection) -> int:
    """Build the index and put it in use. Returns the active version's number."""
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    collection.refresh_from_db()
    assert collection.active_version is not None
    return collection.active_version.number
