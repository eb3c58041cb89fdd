"""Collections of documents, by the service that everybody uses or straight into the tables."""

import hashlib
import time
from collections.abc import Iterator

from django.db import connection

from embeddings.bench.texts import LENGTHS, texts
from embeddings.models import Collection
from embeddings.services import documents
from embeddings.services.items import MAX_ITEMS

#: Longer than any text here, so that each is one chunk.
CHUNK_TOKENS = 256


def collection(name: str, encoder: str, fast_encoder: str = "") -> None:
    Collection.objects.create(name=name, encoder=encoder, fast_encoder=fast_encoder, chunk_tokens=CHUNK_TOKENS)


def put(name: str, length: str, count: int) -> float:
    """Put documents as a client does that sends as many at a time as it may. Returns seconds."""
    items = [{"id": str(number), "text": text} for number, text in enumerate(texts(LENGTHS[length], count))]
    began = time.perf_counter()
    created = sum(
        documents.put(None, name, items[first : first + MAX_ITEMS]).created for first in range(0, count, MAX_ITEMS)
    )
    seconds = time.perf_counter() - began
    if created != count:
        raise AssertionError(f"{created} of {count} documents were created")
    return seconds


def fill(name: str, length: str, count: int) -> None:
    """The same rows by COPY, for parts that begin where documents lie ready."""
    pk = Collection.objects.values_list("pk", flat=True).get(name=name)
    some = texts(LENGTHS[length], count)
    shas = [hashlib.sha256(text.encode()).digest() for text in some]
    rows = ((str(number), text, sha, pk) for number, (text, sha) in enumerate(zip(some, shas, strict=True)))
    _copy("embeddings_document (external_id, text, content_sha, collection_id, metadata, group_ids)", rows)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO embeddings_chunk (document_id, collection_id, position, start, "end", n_tokens, content_sha)
            SELECT id, collection_id, 0, 0, length(text), %s, content_sha FROM embeddings_document
            WHERE collection_id = %s ORDER BY id
            """,
            [(LENGTHS[length].least + LENGTHS[length].most) // 2, pk],
        )
        cursor.execute("ANALYZE embeddings_document")
        cursor.execute("ANALYZE embeddings_chunk")


def _copy(table: str, rows: Iterator[tuple[str, str, bytes, int]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row((*row, "{}", "{}"))
