"""Documents, the chunks that they are cut into, and vectors keyed by content and model."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from embeddings.models.collection import Collection, EmbeddingModel


class Document(models.Model):
    """One text of a collection, known by its sender's id. A delete deletes: row, chunks, and its place in the index."""

    # Collation C lets the unique index serve searches by prefix.
    external_id = models.CharField(max_length=255, db_collation="C", help_text="The sender's id.")
    collection = models.ForeignKey(Collection, on_delete=models.PROTECT, related_name="documents")
    text = models.TextField()
    metadata = models.JSONField(default=dict, blank=True)
    group_ids = ArrayField(
        models.IntegerField(), default=list, blank=True, help_text="Groups that may find it; none: all of its readers."
    )
    content_sha = models.BinaryField(max_length=32, help_text="SHA-256 of the text.")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(name="document_once", fields=["collection", "external_id"])]
        indexes = [
            models.Index(name="document_newest", fields=["collection", "-updated_at", "-id"]),
            GinIndex(name="document_metadata", fields=["metadata"], opclasses=["jsonb_path_ops"]),
        ]

    def __str__(self) -> str:
        return self.external_id


class Chunk(models.Model):
    """A stretch of a document, short enough for an encoder. Its id is the id in every index, and is never used again.

    start, end: positions in the document's text, in characters. A changed text gets new chunks.
    Triggers write a row of `Change` for what becomes searchable and what goes (migration 0001).
    """

    id = models.BigAutoField(primary_key=True)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks")
    collection = models.ForeignKey(Collection, on_delete=models.PROTECT, related_name="+", db_index=False)
    position = models.PositiveIntegerField(help_text="Counted from 0 within the document.")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    n_tokens = models.PositiveIntegerField()
    content_sha = models.BinaryField(max_length=32, help_text="SHA-256 of the chunk's text.")
    words = SearchVectorField(null=True, help_text="For full text search, in the collection's language.")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(name="chunk_once", fields=["document", "position"]),
            models.CheckConstraint(name="chunk_has_length", condition=Q(end__gt=models.F("start"))),
        ]
        indexes = [
            models.Index(name="chunk_of_collection", fields=["collection", "id"]),
            models.Index(name="chunk_content", fields=["content_sha"]),
            GinIndex(name="chunk_words", fields=["words"]),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}/{self.position}"


class Vector(models.Model):
    """What a model makes of a content: unit length, float16, little-endian, `dimension` times two bytes.

    Written and deleted, never changed. Triggers stand for the foreign key, which would look at each row by itself
    (migration 0011).
    """

    pk = models.CompositePrimaryKey("model_id", "content_sha")
    model = models.ForeignKey(
        EmbeddingModel, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    content_sha = models.BinaryField(max_length=32)
    vector = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()
        indexes = [models.Index(name="vector_content", fields=["content_sha"])]

    def __str__(self) -> str:
        return f"{bytes(self.content_sha).hex()[:12]} by model {self.model_id}"


class SetAside(models.Model):
    """A content that a model could not embed, and why. It is left out of runs until an operator has it tried again."""

    model = models.ForeignKey(EmbeddingModel, on_delete=models.CASCADE, related_name="+", db_index=False)
    content_sha = models.BinaryField(max_length=32)
    chunk_id = models.BigIntegerField(help_text="A chunk of that content.")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")
    reason = models.TextField()
    run = models.ForeignKey("embeddings.EmbeddingRun", null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ("view", "delete")
        verbose_name = "content set aside"
        verbose_name_plural = "set aside"
        constraints = [models.UniqueConstraint(name="set_aside_once", fields=["model", "content_sha"])]

    def __str__(self) -> str:
        return f"chunk {self.chunk_id}: {self.reason}"


class Change(models.Model):
    """What readers of an index must know beside it: a chunk that became searchable by a model, or one that has gone.

    Written by triggers. A further column `xid` (xid8) holds the writer's transaction: readers and builds note
    `pg_snapshot_xmin(pg_current_snapshot())` and later read what has `xid >=` that, so nothing that commits late is
    missed; what is read twice changes nothing. Without foreign keys, which would be looked at for each row; what a
    deleted collection leaves is cleaned up daily.
    """

    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    model = models.ForeignKey(
        EmbeddingModel,
        null=True,
        on_delete=models.CASCADE,
        related_name="+",
        db_constraint=False,
        help_text="None: the chunk has gone.",
    )
    chunk_id = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        indexes = [models.Index(name="change_of_chunk", fields=["chunk_id"])]

    def __str__(self) -> str:
        return f"chunk {self.chunk_id} {'gone' if self.model_id is None else f'by model {self.model_id}'}"
