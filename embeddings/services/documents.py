"""Documents: stored, found and deleted by their senders' ids."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from embeddings import chunking
from embeddings.models import Collection
from embeddings.services import collections, staging
from embeddings.services.items import MAX_ITEMS, BadItem, Item, ItemError, check_id, check_items
from embeddings.services.staging import NewChunk
from jobs.operators.actors import Actor

#: Documents are cut and sent to Postgres by so many characters at a time.
#: So many chunks whose texts are all known send a job too, which looks whether the index is due.
MANY_KNOWN = 100
PORTION = 4_000_000
HIDDEN = "there is a document of this id that you may not see; choose another id"


class TooManyItems(ValueError):
    """More documents, or ids, than one call takes."""


@dataclass(frozen=True)
class PutResult:
    """What became of the items. Those in `errors` were not stored; the others were."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    errors: list[ItemError] = field(default_factory=list)


def put(
    actor: Actor | None, collection: Collection | str, items: Sequence[Any], *, is_recorded: bool = True
) -> PutResult:
    """Create documents, or update those whose text, metadata or groups differ; all that are good, or none at an error.

    items: {id, text, metadata?, groups?}; metadata and groups that are left out stay as they are. An unchanged text
    keeps its chunks and vectors. A job that embeds what is new is sent with the transaction. actor: None asks for no
    permission. is_recorded: in the audit log, which the caller does otherwise. Raises PermissionDenied,
    UnknownCollection, TooManyItems.
    """
    if actor is not None:
        actor.require("embeddings.add_document")
        actor.require("embeddings.change_document")
    _check_number(len(items))
    seen = _seen(actor, collection)
    good, errors = check_items(items)
    with transaction.atomic():
        result = _put(collections.hold_settings(seen.pk), good, errors, actor)
        if actor is not None and is_recorded and (result.created or result.updated):
            actor.record("documents.put", seen.name, created=result.created, updated=result.updated)
    return result


def _put(collection: Collection, items: list[Item], errors: list[ItemError], actor: Actor | None) -> PutResult:
    groups = None if actor is None else collections.groups_of(actor.user)
    created = updated = 0
    pending = False
    hidden: list[ItemError] = []
    for portion in _portions(items):
        stored = staging.store_items(collection.pk, portion, groups)
        created += len(stored.created)
        updated += stored.updated
        hidden += [ItemError(one.index, one.id, HIDDEN) for one in portion if one.index in stored.hidden]
        pending |= _cut(collection, portion, stored)
    if pending:
        send_catch_up(collection)
    all_errors = sorted([*errors, *hidden], key=lambda one: one.index)
    return PutResult(created, updated, len(items) - created - updated - len(hidden), all_errors)


def _cut(collection: Collection, items: list[Item], stored: staging.Stored) -> bool:
    """Cut documents whose text is new. Returns whether any of it is still to be embedded."""
    documents = {**stored.created, **stored.text_changed}
    fresh = [one for one in items if one.index in documents]
    if not fresh:
        return False
    pieces = chunking.cut_each([one.text for one in fresh], collection.chunk_tokens, collection.chunk_overlap)
    chunks = [
        chunk
        for one, cut in zip(fresh, pieces, strict=True)
        for chunk in chunks_of(documents[one.index], one.text, one.sha, cut)
    ]
    return replace_chunks(collection, list(stored.text_changed.values()), chunks)


def replace_chunks(collection: Collection, old: Sequence[int], chunks: Sequence[NewChunk]) -> bool:
    """Give documents new chunks, known to the fast tier at once. old: ids of documents that have had others.

    Returns whether any of it is still to be embedded, or so much came that the index may be due.
    """
    staging.replace_chunks(collection.pk, collection.language, old, chunks)
    embed_at_once(collection, chunks)
    if collection.candidate_id is not None or staging.lacking(collection.model_id):
        return True
    return len(chunks) >= MANY_KNOWN


def send_catch_up(collection: Collection) -> None:
    """At the end of a transaction, because whoever else sends it waits for that from here on."""
    from embeddings import tasks

    tasks.catch_up.delay(collection=collection.name)


def chunks_of(document_id: int, text: str, sha: bytes, pieces: Sequence[chunking.Piece]) -> Iterator[NewChunk]:
    """Rows for the pieces of a text, whose own SHA-256 is known."""
    for position, (start, end, n_tokens) in enumerate(pieces):
        whole = end - start == len(text)
        content = text if whole else text[start:end]
        content_sha = sha if whole else hashlib.sha256(content.encode()).digest()
        yield NewChunk(document_id, position, start, end, n_tokens, content_sha, content)


def embed_at_once(collection: Collection, chunks: Sequence[NewChunk]) -> None:
    """Have the fast tier find new chunks as soon as they are committed."""
    if not collection.fast_encoder or not chunks:
        return
    from embeddings.services import fast

    wanted = staging.lacking(collection.fast_model_id)
    contents = {chunk.content_sha: chunk.content for chunk in chunks if chunk.content_sha in wanted}
    if contents:
        fast.embed_now(collection, list(contents), list(contents.values()))


def delete(actor: Actor | None, collection: Collection | str, external_ids: Sequence[str]) -> int:
    """Delete documents for good, with their chunks; they are found no more from the commit on. Returns how many.

    Unknown ids are passed over. Raises PermissionDenied, UnknownCollection, TooManyItems, BadItem.
    """
    if actor is not None:
        actor.require("embeddings.delete_document")
    _check_number(len(external_ids))
    seen = _seen(actor, collection)
    ids = sorted({check_id(one) for one in external_ids})
    with transaction.atomic():
        deleted = remove(seen.pk, ids, None if actor is None else collections.groups_of(actor.user))
        if actor is not None and deleted:
            actor.record("documents.delete", seen.name, deleted=deleted, first=ids[0])
    return deleted


def remove(collection_id: int, external_ids: Sequence[str], groups: list[int] | None = None) -> int:
    """Delete the rows. groups: of whoever does it; None may delete everything."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM embeddings_document WHERE collection_id = %(collection)s AND external_id = ANY(%(ids)s)
                AND (%(groups)s::int[] IS NULL OR group_ids = '{}' OR group_ids && %(groups)s::int[])
            ORDER BY external_id FOR UPDATE
            """,
            {"collection": collection_id, "ids": list(external_ids), "groups": groups},
        )
        found = [pk for (pk,) in cursor.fetchall()]
        if found:
            cursor.execute("DELETE FROM embeddings_chunk WHERE document_id = ANY(%s)", [found])
            cursor.execute("DELETE FROM embeddings_document WHERE id = ANY(%s)", [found])
    return len(found)


def _seen(actor: Actor | None, collection: Collection | str) -> Collection:
    name = collection if isinstance(collection, str) else collection.name
    if actor is None and isinstance(collection, Collection):
        return collection
    return collections.find(name, None if actor is None else actor.user)


def _check_number(number: int) -> None:
    if number > MAX_ITEMS:
        raise TooManyItems(f"{number:,} documents in one call; send up to {MAX_ITEMS:,} at a time")


def _portions(items: list[Item]) -> Iterator[list[Item]]:
    portion: list[Item] = []
    size = 0
    for one in items:
        if portion and size + len(one.text) > PORTION:
            yield portion
            portion, size = [], 0
        portion.append(one)
        size += len(one.text)
    if portion:
        yield portion


__all__ = ["MAX_ITEMS", "BadItem", "PutResult", "TooManyItems", "delete", "put"]
