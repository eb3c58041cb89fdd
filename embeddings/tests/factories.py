"""Rows for tests, without encoders: vectors are made of random numbers."""

import hashlib
import time
from collections.abc import Sequence
from itertools import count

import numpy as np
from django.db import connection

from embeddings.models import Chunk, Collection, Document, EmbeddingModel, IndexVersion, VersionState
from embeddings.services.storing import store_vectors
from embeddings.vectors import Matrix, unit

_numbers = count(1)


def make_model(dimension: int = 16, spec: str = "test") -> EmbeddingModel:
    return EmbeddingModel.objects.create(spec=spec, digest=f"{next(_numbers):064x}", dimension=dimension)


def make_collection(name: str = "", **fields: object) -> Collection:
    return Collection.objects.create(name=name or f"collection-{next(_numbers)}", **fields)


def clustered(n: int, dimension: int = 16, seed: int = 1) -> Matrix:
    """Unit vectors around a few centres, as texts about a few subjects are. Shape (n, dimension)."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, dimension))
    rows = centres[random.integers(0, 20, n)] + 0.4 * random.normal(size=(n, dimension))
    return unit(rows.astype(np.float32))


def add_chunks(collection: Collection, texts: Sequence[str]) -> list[Chunk]:
    """A document and its only chunk for each text, without a vector."""
    shas = [hashlib.sha256(text.encode()).digest() for text in texts]
    documents = Document.objects.bulk_create(
        Document(collection=collection, external_id=f"d{next(_numbers)}", text=text, content_sha=sha)
        for text, sha in zip(texts, shas, strict=True)
    )
    return Chunk.objects.bulk_create(
        Chunk(
            document=document,
            collection=collection,
            position=0,
            start=0,
            end=len(document.text),
            n_tokens=1,
            content_sha=document.content_sha,
        )
        for document in documents
    )


def fill(collection: Collection, n: int, model: EmbeddingModel | None = None, seed: int = 1) -> list[Chunk]:
    """`n` chunks of texts of their own, with vectors of the model (the collection's, if none is given)."""
    model = model or collection.model
    assert model is not None, "give the collection a model first"
    chunks = add_chunks(collection, [f"text {next(_numbers)}" for _ in range(n)])
    store_vectors(model, [bytes(chunk.content_sha) for chunk in chunks], clustered(n, model.dimension, seed))
    return chunks


def settle(seconds: float = 60) -> None:
    """Wait for all that Postgres has under way, such as its own analysing of a table, whichever database it is of.

    The watermark of a build is not younger than the oldest of it, so chunks that were there before may seem new.
    """
    deadline = time.monotonic() + seconds
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
        (until,) = cursor.fetchone()
        while True:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8", [until])
            if cursor.fetchone()[0]:
                return
            assert time.monotonic() < deadline, "a transaction goes on and on"
            time.sleep(0.01)


def make_version(
    collection: Collection, count: int = 30, model: EmbeddingModel | None = None, **fields: object
) -> IndexVersion:
    """A ready version of the collection's model with real files, of random vectors under ids from 1 on."""
    from embeddings.engines.base import Source
    from embeddings.engines.faiss_engine import FaissEngine
    from embeddings.services import folders, held_queries, manifest, store, versions

    model = model or collection.model
    assert model is not None, "give the collection a model first"
    version = versions.begin(collection, model, {})
    ids = np.arange(1, count + 1)
    source = Source(ids, clustered(count, model.dimension).astype(np.float16), model.dimension)
    folder, held = folders.make(f"{folders.BUILDING}{store.folder_name(version)}")
    queries = held_queries.hold(source, ids[:20])
    made = FaissEngine().build(version, source, queries, folder, 0.9)
    version.kind, version.count, version.digest, version.bytes = made.kind, count, made.digest, made.bytes
    version.recall_mean, version.recall_p5 = made.recall_mean, made.recall_p5
    version.manifest = {**version.manifest, "files": manifest.files_of(folder), "tried": made.tried}
    manifest.write(folder, version.manifest)
    store.publish(version, folder)
    held.release()
    versions.end(version, VersionState.READY)
    if fields:
        IndexVersion.objects.filter(pk=version.pk).update(**fields)
    version.refresh_from_db()
    return version
