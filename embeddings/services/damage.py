"""Stored vectors that a build finds damaged: removed, and embedded again before the next attempt builds."""

import logging
from datetime import timedelta

from django.db import connection, transaction
from django.db.models.functions import Now

from embeddings.models import Collection, EmbeddingModel, EmbeddingRun, IndexVersion, RunKind, RunState, VersionState
from embeddings.models.run import OPEN_RUNS
from embeddings.services import batches, fast, planning, starting
from embeddings.services.extracting import BadVectorsStored
from embeddings.services.starting import Wanted
from jobs import Snooze

logger = logging.getLogger(__name__)

#: How long, from the attempt that found damage, the next one waits for what is embedded again.
MOST_WAIT_MINUTES = 15
LOOK_SECONDS = 5


def remove(version: IndexVersion, exc: BadVectorsStored) -> None:
    """Remove damaged vectors and have their texts embedded again, both or neither."""
    collection, model = version.collection, version.model
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM embeddings_vector WHERE model_id = %s AND content_sha IN"
                " (SELECT content_sha FROM embeddings_chunk WHERE id = ANY(%s))",
                [model.pk, exc.chunk_ids],
            )
            removed = cursor.rowcount
        _embed_again(collection, model, exc.chunk_ids)
    logger.error(
        "%s damaged vectors of collection %s were removed; their texts are embedded again",
        removed,
        collection,
        extra={"action": "vectors_damaged", "collection_id": collection.pk},
    )


def wait(collection: Collection, model: EmbeddingModel, job_id: str) -> None:
    """Raise Snooze while what this job's last attempt removed is embedded again, for a quarter of an hour at most."""
    found = IndexVersion.objects.filter(
        collection=collection,
        model=model,
        job_id=job_id,
        state=VersionState.FAILED,
        reason__startswith=BadVectorsStored.__name__,
        created_at__gt=Now() - timedelta(minutes=MOST_WAIT_MINUTES),
    )
    runs = EmbeddingRun.objects.filter(collection=collection, model=model, state__in=OPEN_RUNS)
    if job_id and found.exists() and runs.exists():
        raise Snooze(LOOK_SECONDS, "damaged vectors are embedded again")


def _embed_again(collection: Collection, model: EmbeddingModel, chunk_ids: list[int]) -> None:
    """By the open run of the model, which grows, or by one of its own: `catch_up` looks at the newest chunks alone."""
    from embeddings.tasks import catch_up

    run = starting.open_run(collection, _wanted(collection, model))
    if run.model_id in (None, model.pk) and (run.state == RunState.RUNNING or not starting.is_unfinished(run.job_id)):
        run.model = model
        if planning.plan(run, after_id=min(chunk_ids) - 1):
            batches.go_on(run.pk)
    # It looks after whatever stands in that run's way.
    catch_up.delay(collection=collection.name)


def _wanted(collection: Collection, model: EmbeddingModel) -> Wanted:
    if model.pk == collection.model_id:
        return Wanted(starting.own_encoder(collection), RunKind.CATCH_UP)
    if model.pk == collection.candidate_id:
        return Wanted(collection.candidate_encoder, RunKind.MIGRATION)
    if model.pk == collection.previous_id:
        return Wanted(collection.previous_encoder, RunKind.MIGRATION)
    return Wanted(fast.exact_spec(model), RunKind.FAST)
