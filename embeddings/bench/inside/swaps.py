"""A collection with two versions of its index that answer the same questions differently, and the swapping of them."""

import hashlib
import time
from typing import Any

import numpy as np
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from embeddings.bench.inside import documents
from embeddings.bench.texts import LENGTHS, texts
from embeddings.encoders import load
from embeddings.models import Chunk, Collection, IndexVersion
from embeddings.services import builds, pointer
from embeddings.services import documents as documents_
from embeddings.services.model_rows import model_for
from embeddings.services.storing import store_vectors
from embeddings.vectors import Ids, Matrix, from_bytes, to_bytes
from jobs.operators.actors import command_actor
from jobs.operators.tokens import create_token

NAME, K = "swaps", 10
#: Of questions whose tenth and eleventh answers lie closer together, either may be right.
TELLABLE = 1e-4
#: A document that version 1 has beside it, so that there is something to build.
FURTHER_ID, FURTHER = "further", "Rain fell on the harbour all night, and in the morning the boats were full of it."


def make(spec: str, count: int, questions: int) -> dict[str, Any]:
    """Fill a collection, and build two versions of its index.

    Between the two, each document gets the vector of its neighbour, behind the back of everything: so version 2 has
    other answers than version 1, and an answer tells which it came from. Returns the questions, and by version the ids
    that answer each.
    """
    documents.collection(NAME, spec)
    documents.fill(NAME, "short", count)
    encoder = load(spec)
    model = model_for(encoder)
    collection = Collection.objects.get(name=NAME)
    Collection.objects.filter(pk=collection.pk).update(model=model)
    some = texts(LENGTHS["short"], count)
    shas = [bytes(sha) for sha in _chunks(collection).values_list("content_sha", flat=True)]
    stored = from_bytes(to_bytes(encoder.encode(some).vectors), model.dimension)
    store_vectors(model, shas, stored)
    asked = list(some[:: max(1, count // questions)][:questions])
    queries = encoder.encode(asked).vectors
    builds.build(NAME)
    _give_neighbours_vectors(model.pk, shas, stored)
    further = encoder.encode([FURTHER]).vectors
    documents_.put(None, NAME, [{"id": FURTHER_ID, "text": FURTHER}])
    store_vectors(model, [hashlib.sha256(FURTHER.encode()).digest()], further)
    builds.build(NAME)
    first = _exact(queries, np.vstack([stored, further]))
    second = _exact(queries, np.vstack([np.roll(stored, 1, axis=0), further]))
    tellable = [number for number in range(len(asked)) if first[number] and second[number]]
    return {
        "questions": [asked[number] for number in tellable],
        "answers": {"1": [first[number] for number in tellable], "2": [second[number] for number in tellable]},
    }


def token() -> str:
    user = get_user_model().objects.create_superuser("bench")
    return str(create_token(command_actor(), user, "bench", None)[1])


def activate(number: int) -> float:
    """Put a version in use. Returns when, on the clock that processes share, the pointer was about to be committed."""
    version = IndexVersion.objects.get(collection__name=NAME, number=number)
    with transaction.atomic():
        pointer.activate(None, version, "bench")
        return time.monotonic()


def _chunks(collection: Collection) -> Any:
    return Chunk.objects.filter(collection=collection).order_by("id")


def _exact(queries: Matrix, stored: Matrix) -> list[list[str]]:
    """The ids of the ten best of each query, sorted; empty where the last of them is not certain."""
    found: list[list[str]] = []
    for query in queries:
        scores = stored @ query
        best: Ids = np.argsort(-scores, kind="stable")[: K + 1]
        certain = scores[best[K - 1]] - scores[best[K]] > TELLABLE
        names = sorted(FURTHER_ID if number == len(stored) - 1 else str(number) for number in best[:K].tolist())
        found.append(names if certain else [])
    return found


def _give_neighbours_vectors(model_id: int, shas: list[bytes], stored: Matrix) -> None:
    """Document n gets the vector of document n - 1. No trigger tells of an update, because nothing makes one."""
    rows = zip(shas, to_bytes(np.roll(stored, 1, axis=0)), strict=True)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE moved (content_sha bytea, vector bytea) ON COMMIT DROP")
        with cursor.copy("COPY moved FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["bytea", "bytea"])
            for row in rows:
                copy.write_row(row)
        cursor.execute(
            "UPDATE embeddings_vector AS v SET vector = m.vector FROM moved AS m "
            "WHERE v.model_id = %s AND v.content_sha = m.content_sha",
            [model_id],
        )
