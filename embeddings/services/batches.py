"""One batch of a run: reads its texts, embeds them, and keeps vectors, counters and the next jobs in one transaction.

Nothing is locked while texts are embedded. Should two jobs come to one batch (the first was taken for lost and wakes
up again), the first to finish counts, and the other changes nothing. A job that dies costs what it had embedded.
"""

import time
from dataclasses import dataclass

from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction

from embeddings import encoders
from embeddings.encoders.base import ProviderBusy
from embeddings.encoders.built import not_waiting
from embeddings.models import EmbeddingBatch, EmbeddingRun, RunState
from embeddings.models.run import OPEN_BATCHES
from embeddings.services import endings, planning, poison, unseen
from embeddings.services.pending import Pending, read_pending
from embeddings.services.storing import store_vectors
from jobs import Snooze, job
from jobs.ledger.connection import LOCAL_LIMITS

NOTHING = {"chunks": 0, "encoded": 0, "set_aside": 0, "tokens": 0}

# Both by statements of their own: the ORM takes as long to word them as Postgres to run them.
_DONE = """
    UPDATE embeddings_embeddingbatch SET state = 'done', finished_at = clock_timestamp()
    WHERE id = %s AND state IN ('waiting', 'sent')
"""
_COUNT = """
    UPDATE embeddings_embeddingrun
    SET encoded = encoded + %(encoded)s, set_aside = set_aside + %(aside)s, tokens = tokens + %(tokens)s,
        cpu_seconds = cpu_seconds + %(cpu_seconds)s, dollars = dollars + %(dollars)s
    WHERE id = %(run)s
"""
# The job's finish follows, and waits for the disk: it is never there without this. Should both be lost, it runs again.
_COMMIT_SOON = "SET LOCAL synchronous_commit = off"


@dataclass(frozen=True)
class _Work:
    """What a batch's texts came to. reasons: contents to set aside. aside: how many chunks have them."""

    pending: Pending
    made: poison.Made
    reasons: list[tuple[bytes, int, str]]
    aside: int
    cpu_seconds: float


def embed(run_id: int, first_id: int, last_id: int, *, in_place: bool = False) -> dict[str, int]:
    """Embed what a run's batch lacks, and send the next batches' jobs, or, in_place, none.

    Returns counts; zeros if the batch is done already or the run has ended. Raises Snooze while a provider is busy,
    EncoderUnavailable, and what an encoder raises that could embed none of the texts.
    """
    batch = _find(run_id, first_id, last_id)
    if batch is None or batch.run.state != RunState.RUNNING or batch.run.model is None:
        return dict(NOTHING)
    job.check_cancelled()
    try:
        work = _encode(batch.run, first_id, last_id)
    except ProviderBusy as busy:
        raise Snooze(busy.seconds, str(busy)) from None
    except SoftTimeLimitExceeded:
        return _split(batch, in_place)
    return _keep(batch, work, in_place)


def _find(run_id: int, first_id: int, last_id: int) -> EmbeddingBatch | None:
    """An open batch, with its run; None if it has ended."""
    open_ones = EmbeddingBatch.objects.filter(run_id=run_id, state__in=OPEN_BATCHES)
    found = open_ones.filter(first_id=first_id, last_id=last_id).order_by("id")
    return found.select_related("run__model", "run__collection").first()


def _encode(run: EmbeddingRun, first_id: int, last_id: int) -> _Work:
    assert run.model is not None
    with not_waiting():
        encoder = encoders.load_exactly(run.model.spec, run.model.digest)
    began = time.process_time()
    pending = read_pending(run.collection_id, run.model.pk, first_id, last_id)
    made = poison.encode_what_can_be(encoder, pending.texts)
    refused = {pending.shas[place]: why for place, why in made.refused.items()}
    refused |= dict.fromkeys(pending.damaged, "its text is not what its hash says; send the document again")
    return _Work(
        pending,
        made,
        [(sha, pending.chunk_ids[sha], why) for sha, why in refused.items()],
        pending.set_aside + sum(pending.chunks[sha] for sha in refused),
        time.process_time() - began,
    )


def _keep(batch: EmbeddingBatch, work: _Work, in_place: bool) -> dict[str, int]:
    """Write what a batch came to. What another job of it has written meanwhile stays."""
    run = batch.run
    assert run.model is not None
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCAL_LIMITS if in_place else f"{LOCAL_LIMITS}; {_COMMIT_SOON}")
        cursor.execute(_DONE, [batch.pk])
        if not cursor.rowcount:
            return dict(NOTHING)
        shas = [work.pending.shas[place] for place in work.made.places]
        encoded = store_vectors(run.model, shas, work.made.vectors, were_unknown=True)
        read = sum(work.pending.chunks.values()) + work.pending.set_aside
        if encoded < len(shas) or read < batch.size:
            # Others wrote some of these vectors: only then is there anything that no trigger of ours saw.
            unseen.note_range(run.pk, run.collection_id, run.model.pk, batch.first_id, batch.last_id)
        poison.set_aside(run, work.reasons)
        aside = min(work.aside, batch.size)
        counts = {"run": run.pk, "encoded": batch.size - aside, "aside": aside, "tokens": work.made.tokens}
        # From here on the run's other batches wait for this commit, which follows at once.
        cursor.execute(_COUNT, {**counts, "cpu_seconds": work.cpu_seconds, "dollars": work.made.dollars})
        if planning.needs_looking_after(run.pk):
            go_on(run.pk, in_place)
    return {"chunks": batch.size, "encoded": encoded, "set_aside": aside, "tokens": work.made.tokens}


def _split(batch: EmbeddingBatch, in_place: bool) -> dict[str, int]:
    """Have a batch that took too long tried in halves."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCAL_LIMITS)
        if _hold(batch):
            run = planning.lock_run(batch.run_id)
            if run is not None and run.state == RunState.RUNNING:
                poison.split(run, batch, "it took longer than a batch may take")
                go_on(run.pk, in_place)
    return dict(NOTHING)


def _hold(batch: EmbeddingBatch) -> bool:
    """Lock the batch's row, if it is still open."""
    rows = EmbeddingBatch.objects.select_for_update().filter(pk=batch.pk, state__in=OPEN_BATCHES)
    return rows.first() is not None


def go_on(run_id: int, in_place: bool = False) -> None:
    """After a batch: send the next ones, or end the run if that was the last."""
    with transaction.atomic():
        run = planning.lock_run(run_id)
        if run is None or run.state != RunState.RUNNING or endings.cancel_if_nobody_waits(run):
            return
        if not in_place:
            planning.send_waiting(run)
        endings.finish_if_done(run)
