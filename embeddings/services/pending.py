"""Reads the texts of chunks that a model has no vector of."""

import hashlib
from dataclasses import dataclass, field

from django.db import connection

# One statement, so that chunks and texts are of one moment. A document's text comes once, with the first of its chunks.
# OFFSET keeps both looks from becoming joins: each chunk is looked up by its content. As a join, where there are no
# statistics of the model (of a new one until it has a tenth of the table), each batch would read all of its vectors.
_READ = """
    SELECT c.id, c.document_id, c.start, c."end", c.content_sha,
           EXISTS (SELECT FROM embeddings_setaside AS s
                   WHERE s.model_id = %(model)s AND s.content_sha = c.content_sha OFFSET 0),
           CASE WHEN row_number() OVER (PARTITION BY c.document_id ORDER BY c.id) = 1 THEN d.text END
    FROM embeddings_chunk AS c
    JOIN embeddings_document AS d ON d.id = c.document_id
    WHERE c.collection_id = %(collection)s AND c.id BETWEEN %(first)s AND %(last)s
      AND NOT EXISTS (SELECT FROM embeddings_vector AS v
                      WHERE v.model_id = %(model)s AND v.content_sha = c.content_sha OFFSET 0)
    ORDER BY c.document_id, c.id
"""


@dataclass
class Pending:
    """Distinct contents of a range of chunks. chunk_ids: a chunk of each; chunks: how many have it.

    damaged: chunks whose text is not what their hash says, by content. set_aside: chunks that were set aside before.
    """

    shas: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    chunk_ids: dict[bytes, int] = field(default_factory=dict)
    chunks: dict[bytes, int] = field(default_factory=dict)
    damaged: list[bytes] = field(default_factory=list)
    set_aside: int = 0


def read_pending(collection_id: int, model_id: int, first_id: int, last_id: int) -> Pending:
    """What is to be embedded in a range of chunk ids, last_id included."""
    pending = Pending()
    given = {"collection": collection_id, "model": model_id, "first": first_id, "last": last_id}
    with connection.cursor() as cursor:
        cursor.execute(_READ, given)
        text = ""
        for chunk_id, _, start, end, stored_sha, is_set_aside, whole in cursor:
            text = text if whole is None else whole
            if is_set_aside:
                pending.set_aside += 1
            else:
                _add(pending, chunk_id, bytes(stored_sha), text[start:end])
    return pending


def _add(pending: Pending, chunk_id: int, sha: bytes, text: str) -> None:
    pending.chunks[sha] = pending.chunks.get(sha, 0) + 1
    if sha in pending.chunk_ids:
        return
    pending.chunk_ids[sha] = chunk_id
    # A vector under another text's hash would be taken for that text's, for ever.
    if hashlib.sha256(text.encode()).digest() != sha:
        pending.damaged.append(sha)
    else:
        pending.shas.append(sha)
        pending.texts.append(text)
