"""How much is in a collection: counted where it is small, else as it was measured last."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import F, OuterRef, Subquery

from embeddings.models import Collection, CollectionStatistics

#: A collection of up to so many documents is counted anew each time.
COUNTED = 10_000

_COUNT = """
    SELECT count(DISTINCT c.document_id), count(*), coalesce(sum(c.n_tokens), 0),
        count(*) FILTER (WHERE v.model_id IS NOT NULL), count(*) FILTER (WHERE v.model_id IS NULL AND a.id IS NOT NULL)
    FROM embeddings_chunk AS c
    LEFT JOIN embeddings_vector AS v ON v.model_id = %(model)s AND v.content_sha = c.content_sha
    LEFT JOIN embeddings_setaside AS a ON a.model_id = %(model)s AND a.content_sha = c.content_sha
    WHERE c.collection_id = %(collection)s
"""


@dataclass(frozen=True)
class Figures:
    """pending: chunks that are to be embedded yet. at: when it was measured; None: now."""

    documents: int
    chunks: int
    tokens: int
    embedded: int
    set_aside: int
    pending: int
    at: datetime | None = None


def figures(collection: Collection) -> Figures | None:
    """None for a large collection that has not been measured yet."""
    if collection.documents.order_by()[: COUNTED + 1].count() > COUNTED:
        return measured([collection]).get(collection.pk)
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"collection": collection.pk, "model": collection.model_id})
        documents, chunks, tokens, embedded, aside = cursor.fetchone()
    return Figures(documents, chunks, tokens, embedded, aside, chunks - embedded - aside)


def measured(collections: Sequence[Collection]) -> dict[int, Figures]:
    """The latest statistics of each that has any, in one statement."""
    of_one = CollectionStatistics.objects.filter(collection=OuterRef("pk")).order_by("-at")
    wanted = Collection.objects.filter(pk__in=[one.pk for one in collections])
    newest = wanted.annotate(newest=Subquery(of_one.values("pk")[:1])).values("newest")
    return {one.collection_id: _of_row(one) for one in CollectionStatistics.objects.filter(pk__in=newest)}


def newest_columns() -> dict[str, Any]:
    """Columns for a list of collections, from the latest statistics; null before the first."""
    newest = CollectionStatistics.objects.filter(collection=OuterRef("pk")).order_by("-at")
    pending = newest.annotate(pending=F("chunks") - F("embedded") - F("set_aside"))
    return {
        "newest_documents": Subquery(newest.values("documents")[:1]),
        "newest_set_aside": Subquery(newest.values("set_aside")[:1]),
        "newest_pending": Subquery(pending.values("pending")[:1]),
    }


def history(collection: Collection, most: int = 288) -> list[CollectionStatistics]:
    """Up to a day of rows, the oldest first."""
    return list(CollectionStatistics.objects.filter(collection=collection).order_by("-at")[:most])[::-1]


def _of_row(row: CollectionStatistics) -> Figures:
    pending = max(0, row.chunks - row.embedded - row.set_aside)
    return Figures(row.documents, row.chunks, row.tokens, row.embedded, row.set_aside, pending, row.at)
