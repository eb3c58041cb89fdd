"""Deletes a collection with all that is in it, a little at a time."""

import contextlib
import logging

from django.db import connection, transaction

from embeddings.models import Collection, IndexVersion
from embeddings.services import collections, document_lists, documents
from jobs import Discard, job

logger = logging.getLogger(__name__)

AT_ONCE = 1000
#: What Django would load row by row to delete it.
_MANY = """
    DELETE FROM embeddings_embeddingbatch AS b USING embeddings_embeddingrun AS r
        WHERE r.id = b.run_id AND r.collection_id = %(collection)s;
    DELETE FROM embeddings_setaside WHERE collection_id = %(collection)s;
    DELETE FROM embeddings_collectionstatistics WHERE collection_id = %(collection)s;
    DELETE FROM embeddings_change WHERE collection_id = %(collection)s;
"""


def delete_all(name: str, groups: list[int] | None = None) -> dict[str, int]:
    """Delete a collection's documents, then itself. Run again, it goes on.

    groups: of whoever had it sent; None may delete everything. Raises UnknownCollection, and Discard if it holds
    documents that they may not see.
    """
    collection = collections.find(name)
    _check_seen(collection, groups)
    total = max(1, collection.documents.count())
    deleted = 0
    while True:
        job.progress(min(deleted / total, 1.0), f"{deleted:,} of {total:,} documents")
        seen = document_lists.seen_by(groups, collection.documents.order_by("external_id"))
        ids = list(seen.values_list("external_id", flat=True)[:AT_ONCE])
        with transaction.atomic():
            if ids:
                deleted += documents.remove(collection.pk, ids, groups)
                continue
            # Documents may have come meanwhile.
            with contextlib.suppress(collections.CollectionNotEmpty):
                delete_row(collection)
                return {"documents": deleted}
        _check_seen(collection, groups)


def _check_seen(collection: Collection, groups: list[int] | None) -> None:
    if document_lists.has_hidden(collection, groups):
        raise Discard(f"collection {collection.name} holds documents that whoever had it deleted may not see")


def delete_row(collection: Collection) -> None:
    """Delete a collection without documents, in the caller's transaction, and its indexes after the commit.

    Raises CollectionNotEmpty.
    """
    collections.lock_settings(collection.pk)
    if collection.documents.exists():
        raise collections.CollectionNotEmpty(f"collection {collection.name} has documents; delete them first")
    Collection.objects.filter(pk=collection.pk).update(active_version=None, fast_version=None)
    versions = list(IndexVersion.objects.filter(collection=collection))
    with connection.cursor() as cursor:
        cursor.execute(_MANY, {"collection": collection.pk})
    Collection.objects.filter(pk=collection.pk).delete()
    transaction.on_commit(lambda: _remove_indexes(versions))


def _remove_indexes(versions: list[IndexVersion]) -> None:
    """What cannot be removed now, the daily clean-up finds."""
    from embeddings.engines import engine
    from embeddings.services import store

    for version in versions:
        try:
            engine(version.engine).remove(version)
            store.remove(version)
        except Exception as exc:  # the collection is gone, whatever a storage says
            logger.warning("Files of version %s of a deleted collection stay for now: %s", version.number, exc)
