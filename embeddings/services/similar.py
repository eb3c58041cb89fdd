"""Documents like another one, by their vectors."""

from typing import Any

import numpy as np
from django.db import connection

from embeddings.models import Collection, Document, EmbeddingModel
from embeddings.services import asking, collections, document_lists, retrieval
from embeddings.services.answers import Answer
from embeddings.services.asking import DEFAULT_K, Question, SearchUnavailable
from embeddings.services.retrieval import Queries
from embeddings.services.scope import Scope
from embeddings.services.searching import Search, Timing, answer, by_vector
from embeddings.serving import reader, stored
from embeddings.serving.snapshot import Snapshot
from embeddings.vectors import Vector

#: Of a long document, the middle direction of so many of its first chunks is taken.
MOST_CHUNKS = 64
#: Encoders cut a text far sooner.
MOST_CHARACTERS = 20_000


def similar(collection: str, external_id: str, k: int = DEFAULT_K, filters: Any = None) -> Answer:
    """The k documents nearest to one of the collection, without itself.

    Raises UnknownCollection, UnknownDocument, SearchRefused, SearchUnavailable.
    """
    found = collections.find(collection)
    document = document_lists.find_document(found, external_id)
    running = _search(found, k, filters, exclude=document.pk)
    with running.timing.of("encode"):
        queries = _of_document(running.snapshot, document)
    return _answer(running, found, queries)


def similar_to_text(collection: str, text: str, k: int = DEFAULT_K, filters: Any = None) -> Answer:
    """The k documents nearest to a text of any length, of which encoders read the beginning.

    Raises UnknownCollection, SearchRefused, SearchUnavailable.
    """
    found = collections.find(collection)
    shortened = text[:MOST_CHARACTERS] if isinstance(text, str) else text
    asking.check_text(shortened, MOST_CHARACTERS)
    running = _search(found, k, filters)
    with running.timing.of("encode"):
        queries = retrieval.embed(running.snapshot, shortened, fast=False)
    return _answer(running, found, queries)


def _search(collection: Collection, k: int, filters: Any, exclude: int | None = None) -> Search:
    condition = asking.check_filters(filters)
    question = Question("", asking.check_k(k), "vector", condition, by_document=True)
    scope = Scope(collection.pk, None, condition)
    return Search(scope, reader.snapshot(collection.pk), question, Timing(), exclude=exclude)


def _answer(running: Search, collection: Collection, queries: Queries) -> Answer:
    if queries.main is None and queries.fast is None and queries.warnings:
        raise SearchUnavailable("; ".join(queries.warnings), queries.retry_seconds)
    return answer(running, collection, {"vector": by_vector(running, queries)}, queries.warnings)


def _of_document(snapshot: Snapshot, document: Document) -> Queries:
    """Its own vectors; where the model has not come to it yet, those of its text."""
    queries = Queries()
    if snapshot.main is not None:
        queries.main = _direction(document, snapshot.main.model)
    if snapshot.fast is not None and (queries.main is None or len(snapshot.waiting)):
        queries.fast = _direction(document, snapshot.fast.model)
    if queries.main is None:
        made = retrieval.embed(snapshot, document.text[:MOST_CHARACTERS], fast=False)
        queries.main, queries.warnings = made.main, made.warnings
    return queries


def _direction(document: Document, model: EmbeddingModel) -> Vector | None:
    """The middle of the directions of its chunks. None if it has no good vector of the model."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.id, v.vector FROM embeddings_chunk AS c
            JOIN embeddings_vector AS v ON v.model_id = %s AND v.content_sha = c.content_sha
            WHERE c.document_id = %s ORDER BY c.position LIMIT %s
            """,
            [model.pk, document.pk, MOST_CHUNKS],
        )
        _, vectors, _ = stored.read(cursor.fetchall(), model.pk, model.dimension)
    if not len(vectors):
        return None
    middle = vectors.sum(axis=0)
    length = float(np.linalg.norm(middle))
    # Directions that cancel each other out have no middle.
    return vectors[0] if length < 1e-6 else np.asarray(middle / length, dtype=np.float32)
