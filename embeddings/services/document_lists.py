"""Finding documents: by id, in lists, and by how far they are embedded."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from embeddings.models import Chunk, Collection, Document, SetAside, Vector
from embeddings.services import collections

EMBEDDED, PENDING, SET_ASIDE = "embedded", "pending", "set_aside"
STATES = (EMBEDDED, PENDING, SET_ASIDE)
#: Whether a document is embedded stands in no index, so a filter by that looks at no more of them.
NEWEST = 100_000
MOST_CHUNKS = 500

_STATES = """
    SELECT c.document_id, count(*), sum(c.n_tokens),
        count(*) FILTER (WHERE v.model_id IS NULL AND a.id IS NULL),
        count(*) FILTER (WHERE v.model_id IS NULL AND a.id IS NOT NULL)
    FROM embeddings_chunk AS c
    LEFT JOIN embeddings_vector AS v ON v.model_id = %(model)s AND v.content_sha = c.content_sha
    LEFT JOIN embeddings_setaside AS a ON a.model_id = %(model)s AND a.content_sha = c.content_sha
    WHERE c.document_id = ANY(%(documents)s) GROUP BY c.document_id
"""


class UnknownDocument(LookupError):
    """A collection has no document of that id, or none that whoever asks may see."""


@dataclass(frozen=True)
class DocumentState:
    """How far a document is embedded by its collection's model. state: one of `STATES`."""

    chunks: int = 0
    tokens: int = 0
    state: str = PENDING


@dataclass(frozen=True)
class ChunkState:
    chunk: Chunk
    state: str
    reason: str


def documents_of(collection: Collection, user: Any = None) -> QuerySet[Document]:
    """Those that the user may see, without their texts. None and superusers see all."""
    return seen_by(collections.groups_of(user), Document.objects.filter(collection=collection).defer("text"))


def seen_by(groups: list[int] | None, found: QuerySet[Document]) -> QuerySet[Document]:
    """Those that a member of the groups may see; None sees all."""
    return found if groups is None else found.filter(Q(group_ids=[]) | Q(group_ids__overlap=groups))


def has_hidden(collection: Collection, groups: list[int] | None) -> bool:
    """Whether a collection holds documents that a member of the groups may not see."""
    all_of_it = Document.objects.filter(collection=collection)
    return groups is not None and all_of_it.exclude(Q(group_ids=[]) | Q(group_ids__overlap=groups)).exists()


def with_prefix(found: QuerySet[Document], text: str) -> QuerySet[Document]:
    """Those whose id begins with the text."""
    if "\x00" in text or any("\ud800" <= one <= "\udfff" for one in text):
        return found.none()
    return found.filter(external_id__startswith=text)


def in_state(found: QuerySet[Document], collection: Collection, state: str) -> QuerySet[Document]:
    """Those in a state; of embedded and pending ones, those among the collection's newest 100,000."""
    if collection.model_id is None:
        return _newest(found, collection) if state == PENDING else found.none()
    aside = SetAside.objects.filter(model=collection.model_id)
    if state == SET_ASIDE:
        # From the few that are set aside to their documents.
        shas = [bytes(sha) for sha in aside.values_list("content_sha", flat=True)[:NEWEST]]
        chunks = Chunk.objects.filter(collection=collection, content_sha__in=shas)
        return found.filter(pk__in=_lacking(chunks, collection.model_id).values("document"))
    own = Chunk.objects.filter(document=OuterRef("pk"))
    lacking = _lacking(own, collection.model_id)
    if state == EMBEDDED:
        return _newest(found, collection).filter(Exists(own), ~Exists(lacking))
    is_aside = Exists(aside.filter(content_sha=OuterRef("content_sha")))
    return _newest(found, collection).filter(Exists(lacking.filter(~is_aside)), ~Exists(lacking.filter(is_aside)))


def _lacking(chunks: QuerySet[Chunk], model_id: int | None) -> QuerySet[Chunk]:
    return chunks.filter(~Exists(Vector.objects.filter(model=model_id, content_sha=OuterRef("content_sha"))))


def _newest(found: QuerySet[Document], collection: Collection) -> QuerySet[Document]:
    times = Document.objects.filter(collection=collection).order_by("-updated_at", "-id")
    oldest = next(iter(times.values_list("updated_at", flat=True)[NEWEST : NEWEST + 1]), None)
    return found if oldest is None else found.filter(updated_at__gt=oldest)


def find_document(collection: Collection, external_id: str, user: Any = None) -> Document:
    """With its text. Raises UnknownDocument."""
    storable = "\x00" not in external_id and not any("\ud800" <= one <= "\udfff" for one in external_id)
    found = documents_of(collection, user).filter(external_id=external_id).defer(None).first() if storable else None
    if found is None:
        raise UnknownDocument(f"collection {collection.name} has no document {external_id[:255]!r}")
    return found


def states_of(collection: Collection, document_ids: Iterable[int]) -> dict[int, DocumentState]:
    """How far the documents of a page are, in one statement."""
    ids = list(document_ids)
    with connection.cursor() as cursor:
        cursor.execute(_STATES, {"model": collection.model_id, "documents": ids})
        rows = cursor.fetchall()
    found = {pk: DocumentState() for pk in ids}
    for pk, chunks, tokens, pending, aside in rows:
        found[pk] = DocumentState(chunks, tokens, SET_ASIDE if aside else PENDING if pending else EMBEDDED)
    return found


def chunks_of(document: Document, collection: Collection, most: int = MOST_CHUNKS) -> list[ChunkState]:
    """The first chunks of a document, with their states, and why one is set aside."""
    chunks = list(document.chunks.defer("words").order_by("position")[:most])
    shas = [chunk.content_sha for chunk in chunks]
    model = collection.model_id
    embedded = {
        bytes(sha)
        for sha in Vector.objects.filter(model=model, content_sha__in=shas).values_list("content_sha", flat=True)
    }
    aside = SetAside.objects.filter(model=model, content_sha__in=shas).values_list("content_sha", "reason")
    reasons = {bytes(sha): reason for sha, reason in aside}
    return [_chunk_state(chunk, embedded, reasons) for chunk in chunks]


def _chunk_state(chunk: Chunk, embedded: set[bytes], reasons: dict[bytes, str]) -> ChunkState:
    sha = bytes(chunk.content_sha)
    if sha in embedded:
        return ChunkState(chunk, EMBEDDED, "")
    return ChunkState(chunk, SET_ASIDE if sha in reasons else PENDING, reasons.get(sha, ""))


def group_names(group_ids: Iterable[int]) -> dict[int, str]:
    return dict(Group.objects.filter(pk__in=set(group_ids)).values_list("pk", "name"))
