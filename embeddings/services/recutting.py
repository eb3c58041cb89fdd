"""Cuts a collection's documents anew after its settings have changed. Run again, it changes nothing more."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from embeddings import chunking
from embeddings.models import Collection
from embeddings.services import collections, documents, staging
from embeddings.services.staging import NewChunk
from jobs import job

#: A transaction takes so many documents, or, of long ones, so many stored bytes.
AT_ONCE = 200
BYTES_AT_ONCE = 4_000_000

_NEXT = """
    SELECT id FROM (
        SELECT id, external_id, sum(pg_column_size(text)) OVER (ORDER BY external_id) AS size,
            row_number() OVER (ORDER BY external_id) AS number
        FROM (
            SELECT id, external_id, text FROM embeddings_document
            WHERE collection_id = %(collection)s AND external_id > %(after)s ORDER BY external_id LIMIT %(most)s
        ) AS beyond
    ) AS sized WHERE number = 1 OR size <= %(bytes)s
"""
_TEXTS = """
    SELECT id, external_id, text, content_sha FROM embeddings_document
    WHERE id = ANY(%s) ORDER BY external_id FOR UPDATE
"""
_PIECES = """
    SELECT document_id, start, "end", n_tokens FROM embeddings_chunk WHERE document_id = ANY(%s)
    ORDER BY document_id, position
"""


@dataclass(frozen=True)
class _Row:
    id: int
    external_id: str
    text: str
    sha: bytes


def recut(name: str) -> dict[str, int]:
    """Cut what its collection's settings cut otherwise now, and write the words of the rest anew.

    What is the same keeps its chunks. Raises UnknownCollection.
    """
    collection = collections.find(name)
    total = max(1, collection.documents.count())
    seen = changed = 0
    after = ""
    while True:
        job.progress(min(seen / total, 1.0), f"{seen:,} of {total:,} documents")
        with transaction.atomic():
            # Before the rows, as whoever puts documents does it.
            collection = collections.hold_settings(collection.pk)
            rows = _next_rows(collection.pk, after)
            if not rows:
                return {"documents": seen, "changed": changed}
            changed += _recut_rows(collection, rows)
        seen += len(rows)
        after = rows[-1].external_id


def _next_rows(collection_id: int, after: str) -> list[_Row]:
    """The next documents by id, locked."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                _NEXT, {"collection": collection_id, "after": after, "most": AT_ONCE, "bytes": BYTES_AT_ONCE}
            )
            ids = [pk for (pk,) in cursor.fetchall()]
            if not ids:
                return []
            cursor.execute(_TEXTS, [ids])
            rows = [_Row(pk, external_id, text, bytes(sha)) for pk, external_id, text, sha in cursor.fetchall()]
            if rows:
                return rows


def _recut_rows(collection: Collection, rows: Sequence[_Row]) -> int:
    """Returns how many of the documents are cut otherwise now."""
    pieces = chunking.cut_each([row.text for row in rows], collection.chunk_tokens, collection.chunk_overlap)
    before = _pieces_of([row.id for row in rows])
    same: list[NewChunk] = []
    changed: list[NewChunk] = []
    ids = []
    for row, cut in zip(rows, pieces, strict=True):
        is_same = before.get(row.id, []) == [tuple(piece) for piece in cut]
        (same if is_same else changed).extend(documents.chunks_of(row.id, row.text, row.sha, cut))
        if not is_same:
            ids.append(row.id)
    if same:
        staging.rewrite_words(collection.language, same)
    if ids and documents.replace_chunks(collection, ids, changed):
        documents.send_catch_up(collection)
    return len(ids)


def _pieces_of(ids: Sequence[int]) -> dict[int, list[tuple[int, int, int]]]:
    found: dict[int, list[tuple[int, int, int]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_PIECES, [list(ids)])
        for document_id, start, end, n_tokens in cursor.fetchall():
            found.setdefault(document_id, []).append((start, end, n_tokens))
    return found
