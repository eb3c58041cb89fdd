"""Runs and their batches, made and worked on by hand."""

from typing import Any

from django.db import connection

from embeddings.models import (
    BatchState,
    Collection,
    EmbeddingBatch,
    EmbeddingRun,
)
from embeddings.services import batches, runs
from embeddings.tests import encoder_doubles  # noqa: F401  double:NAME
from embeddings.tests.factories import add_chunks, make_collection
from jobs.models import Job


def collection_of(*texts: str, encoder: str = "double:plain", **fields: Any) -> Collection:
    collection = make_collection(encoder=encoder, fast_encoder="", **fields)
    add_chunks(collection, texts)
    return collection


def texts(count: int, word: str = "text") -> list[str]:
    return [f"{word} {i}" for i in range(count)]


def planned(collection: Collection) -> EmbeddingRun:
    """A running run, whose first batches' jobs are sent."""
    runs.catch_up(collection.name)
    return EmbeddingRun.objects.get(collection=collection)


def embed_sent(run: EmbeddingRun, most: int = 100) -> None:
    """Do what the workers would, until nothing is sent any more."""
    for _ in range(most):
        batch = EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT).order_by("id").first()
        if batch is None:
            return
        batches.embed(run.pk, batch.first_id, batch.last_id)
    raise AssertionError("still batches")


def end_job(job_id: str, state: str, error: str = "", error_class: str = "") -> None:
    """Have a job end as a worker would have it."""
    Job.objects.filter(pk=job_id).update(state=state, error=error, finished_at="2026-01-01T00:00Z")
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO jobs_attempt (job_id, number, worker, claim_id, started_at, finished_at, outcome, error_class,
                                      message, traceback)
            VALUES (%s, 1, 'w', gen_random_uuid(), now(), now(), 'failed', %s, '', '')
            """,
            [job_id, error_class],
        )
