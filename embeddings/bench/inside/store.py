"""Writing vectors in two ways, timed."""

import hashlib
import time
from contextlib import nullcontext

import numpy as np
from django.db import connection, models, transaction

from embeddings.models import EmbeddingModel, Vector
from embeddings.services.storing import store_vectors
from embeddings.vectors import Matrix

DIMENSION = 384


class JsonRow(models.Model):
    """A vector as a JSONField would keep it."""

    content_sha = models.BinaryField(max_length=32)
    vector = models.JSONField()

    objects: "models.Manager[JsonRow]" = models.Manager()

    class Meta:
        app_label = "bench"  # no installed app: migrations know nothing of it
        db_table = "bench_json_row"
        managed = False

    def __str__(self) -> str:
        return bytes(self.content_sha).hex()


def by_copy(count: int, per_call: int) -> float:
    """Store `count` vectors as a batch does, `per_call` in a transaction. Returns seconds."""
    shas, vectors = _vectors(count)
    model, _ = EmbeddingModel.objects.get_or_create(spec="bench", digest="store", dimension=DIMENSION)
    Vector.objects.all().delete()
    # The staging table is made once a session.
    store_vectors(model, [bytes(32)], vectors[:1])
    began = time.perf_counter()
    stored = sum(
        store_vectors(model, shas[first : first + per_call], vectors[first : first + per_call], were_unknown=True)
        for first in range(0, count, per_call)
    )
    seconds = time.perf_counter() - began
    if stored != count:
        raise AssertionError(f"{stored} of {count} vectors were stored")
    return seconds


def by_rows(count: int, in_one: bool) -> float:
    """The same as one ORM `create` a vector: each on its own, as Django does unless told otherwise, or all in one
    transaction. Returns seconds.
    """
    shas, vectors = _vectors(count)
    lists = vectors.tolist()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_json_row")
        cursor.execute("CREATE TABLE bench_json_row (id bigserial PRIMARY KEY, content_sha bytea, vector jsonb)")
    began = time.perf_counter()
    with transaction.atomic() if in_one else nullcontext():
        for sha, vector in zip(shas, lists, strict=True):
            JsonRow.objects.create(content_sha=sha, vector=vector)
    return time.perf_counter() - began


def _vectors(count: int) -> tuple[list[bytes], Matrix]:
    rows = np.random.default_rng(4).standard_normal((count, DIMENSION), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)], rows
