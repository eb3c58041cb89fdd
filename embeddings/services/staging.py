"""Moves documents and chunks to Postgres by COPY, and there into their tables by sets.

All rows of documents are locked in the order of their ids, by whoever writes them, so that two writers of the same
ids wait for each other in turn, never in a circle.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection

from embeddings.services.items import Item

#: Characters of a chunk that are searched by their words: Postgres takes no vector of words of 1 MB or more.
SEARCHED = 60_000

_TABLES = """
    CREATE TEMP TABLE IF NOT EXISTS embeddings_new_item (
        index int, external_id varchar(255) COLLATE "C", content_sha bytea, metadata jsonb, group_ids int[]
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS embeddings_new_text (index int, content text) ON COMMIT DELETE ROWS;
    DELETE FROM embeddings_new_item;
    DELETE FROM embeddings_new_text;
"""

_CHUNK_TABLE = """
    CREATE TEMP TABLE IF NOT EXISTS embeddings_new_chunk (
        document_id bigint, position int, first int, last int, n_tokens int, content_sha bytea, content text
    ) ON COMMIT DELETE ROWS;
    DELETE FROM embeddings_new_chunk;
"""

#: What differs from what is there. Left-out metadata and groups are as they were.
_DIFFERS = """
    (d.content_sha <> s.content_sha OR d.metadata <> s.metadata OR d.group_ids <> s.group_ids)
"""

_CHANGED = f"""
    SELECT s.index FROM embeddings_new_item AS s
    LEFT JOIN embeddings_document AS d ON d.collection_id = %(collection)s AND d.external_id = s.external_id
    WHERE d.id IS NULL OR {_DIFFERS}
"""  # noqa: S608  # no value from outside

# Where a row is there already, the false condition leaves it as it is, but locks it.
_CREATE = """
    WITH created AS (
        INSERT INTO embeddings_document
            (collection_id, external_id, text, metadata, group_ids, content_sha, created_at, updated_at)
        SELECT %(collection)s, s.external_id, t.content, coalesce(s.metadata, '{}'), coalesce(s.group_ids, '{}'),
            s.content_sha, clock_timestamp(), clock_timestamp()
        FROM embeddings_new_item AS s JOIN embeddings_new_text AS t USING (index)
        ORDER BY s.external_id
        ON CONFLICT (collection_id, external_id) DO UPDATE SET text = EXCLUDED.text WHERE false
        RETURNING id, external_id
    )
    SELECT s.index, c.id FROM created AS c JOIN embeddings_new_item AS s USING (external_id)
"""

#: What its sender cannot see, and so may not change.
_HIDDEN = """
    SELECT s.index FROM embeddings_new_item AS s JOIN embeddings_new_text USING (index)
    JOIN embeddings_document AS d ON d.collection_id = %(collection)s AND d.external_id = s.external_id
    WHERE d.group_ids <> '{}' AND NOT d.group_ids && %(groups)s::int[]
"""

_UPDATE = f"""
    UPDATE embeddings_document AS d SET
        text = CASE WHEN d.content_sha = s.content_sha THEN d.text ELSE t.content END,
        metadata = coalesce(s.metadata, d.metadata), group_ids = coalesce(s.group_ids, d.group_ids),
        content_sha = s.content_sha, updated_at = clock_timestamp()
    FROM embeddings_new_item AS s JOIN embeddings_new_text AS t USING (index)
    JOIN embeddings_document AS old ON old.collection_id = %(collection)s AND old.external_id = s.external_id
    WHERE d.id = old.id AND s.index <> ALL(%(but)s) AND {_DIFFERS}
    RETURNING s.index, d.id, old.content_sha <> s.content_sha
"""  # noqa: S608  # no value from outside

_CUT = """
    INSERT INTO embeddings_chunk
        (document_id, collection_id, position, start, "end", n_tokens, content_sha, words)
    SELECT document_id, %(collection)s, position, first, last, n_tokens, content_sha,
        to_tsvector(%(language)s::regconfig, left(content, %(searched)s))
    FROM embeddings_new_chunk
"""

_REWRITE = """
    UPDATE embeddings_chunk AS c SET words = n.words
    FROM (
        SELECT document_id, position, to_tsvector(%(language)s::regconfig, left(content, %(searched)s)) AS words
        FROM embeddings_new_chunk
    ) AS n
    WHERE c.document_id = n.document_id AND c.position = n.position AND c.words IS DISTINCT FROM n.words
"""

_LACKING = """
    SELECT DISTINCT n.content_sha FROM embeddings_new_chunk AS n
    WHERE NOT EXISTS (SELECT FROM embeddings_vector AS v WHERE v.model_id = %s AND v.content_sha = n.content_sha)
"""


@dataclass(frozen=True)
class Stored:
    """created, text_changed: the item's index and its document's id. hidden: indexes of what may not be changed."""

    created: dict[int, int]
    text_changed: dict[int, int]
    updated: int
    hidden: list[int]


class NewChunk(NamedTuple):
    """A row of a chunk that is to come, with its text."""

    document_id: int
    position: int
    start: int
    end: int
    n_tokens: int
    content_sha: bytes
    content: str


def store_items(collection_id: int, items: Sequence[Item], groups: list[int] | None) -> Stored:
    """Create and update documents, without their chunks. groups: of whoever does it; None may change everything.

    In the caller's transaction, which then holds the rows' locks.
    """
    named = {"collection": collection_id, "groups": groups}
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        rows = ((one.index, one.id, one.sha, one.metadata, one.groups) for one in items)
        _copy(cursor, "embeddings_new_item", rows)
        cursor.execute(_CHANGED, named)
        changed = {index for (index,) in cursor.fetchall()}
        if not changed:
            return Stored({}, {}, 0, [])
        _copy(cursor, "embeddings_new_text", ((one.index, one.text) for one in items if one.index in changed))
        cursor.execute(_CREATE, named)
        created = dict(cursor.fetchall())
        if len(created) == len(changed):
            return Stored(created, {}, 0, [])
        hidden: list[int] = []
        if groups is not None:
            cursor.execute(_HIDDEN, named)
            hidden = [index for (index,) in cursor.fetchall() if index not in created]
        cursor.execute(_UPDATE, {**named, "but": [*created, *hidden]})
        updated = cursor.fetchall()
        return Stored(created, {index: pk for index, pk, is_new in updated if is_new}, len(updated), hidden)


def replace_chunks(collection_id: int, language: str, old: Sequence[int], chunks: Iterable[NewChunk]) -> None:
    """Remove the chunks of documents, and add new ones. old: ids of documents."""
    with connection.cursor() as cursor:
        if old:
            cursor.execute("DELETE FROM embeddings_chunk WHERE document_id = ANY(%s)", [list(old)])
        cursor.execute(_CHUNK_TABLE)
        _copy(cursor, "embeddings_new_chunk", chunks)
        cursor.execute(_CUT, {"collection": collection_id, "language": language, "searched": SEARCHED})


def rewrite_words(language: str, chunks: Iterable[NewChunk]) -> None:
    """Write the words of chunks anew, in another language; their ids and vectors stay."""
    with connection.cursor() as cursor:
        cursor.execute(_CHUNK_TABLE)
        _copy(cursor, "embeddings_new_chunk", chunks)
        cursor.execute(_REWRITE, {"language": language, "searched": SEARCHED})


def lacking(model_id: int | None) -> set[bytes]:
    """Contents of the last `replace_chunks` that have no vector of a model; all of them for no model."""
    with connection.cursor() as cursor:
        cursor.execute(_LACKING, [model_id])
        return {bytes(sha) for (sha,) in cursor.fetchall()}


def _copy(cursor: Any, table: str, rows: Iterable[Sequence[Any]]) -> None:
    with cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
