"""Cuts what a run has to embed into batches, and sends as many of their jobs at a time as the workers can use."""

import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum

from embeddings.models import BatchState, EmbeddingBatch, EmbeddingRun, RunKind, RunState
from jobs.lanes import LANES
from jobs.ledger.door import collecting, enter_now, holder_of
from jobs.models import Job, State
from jobs.operators.queues import workers

QUEUE = "embedding"
#: Jobs of a run that are sent at a time, for each process that may run them: enough that none waits for a message.
JOBS_PER_CHILD = 4
#: How old a window may be by which it is seen that few of them are left.
WINDOW_SECONDS = 1.0
#: New documents overtake what was asked for in bulk; both are of the band of the queue.
PRIORITY = {RunKind.CATCH_UP: 9}
BULK_PRIORITY = 8
#: What a batch takes at the speed of its model, once that is known from an earlier run.
BATCH_SECONDS = 1.0
#: MiniLM's on one core; until a model's own speed is known.
USUAL_TOKENS_PER_SECOND = 14_000.0
#: A batch that is lost to a dead worker is at most so much larger than is set.
MOST_GROWTH = 16
MOST_TOKENS = 1_000_000
#: Into how many parts the last batch of each process is cut, if that many chunks or more are in it.
LAST_PARTS, LEAST_CUT_CHUNKS = 4, 64
#: Transactions that began before a plan and commit after it may hold ids of chunks that far back.
LOOK_BACK_CHUNKS = 100_000
_PLANNER = 0x656D6265  # the first key of the advisory lock of whoever plans a run

# Both limits hold for every batch: a chunk weighs what it takes of the scarcer one. Tenths do not add up to 1 exactly.
# The last batches are cut in parts, so that the processes end at about the same time.
_PLAN = """
    WITH missing AS (
        SELECT c.id, GREATEST(1.0 / %(chunks)s, c.n_tokens / %(tokens)s)::float8 AS weight
        FROM embeddings_chunk AS c
        WHERE c.collection_id = %(collection)s AND c.id > %(after)s
          AND NOT c.id BETWEEN %(open_from)s AND %(open_to)s
          AND NOT EXISTS (SELECT 1 FROM embeddings_vector AS v
                          WHERE v.model_id = %(model)s AND v.content_sha = c.content_sha)
          AND NOT EXISTS (SELECT 1 FROM embeddings_setaside AS s
                          WHERE s.model_id = %(model)s AND s.content_sha = c.content_sha)),
    summed AS (
        SELECT id, sum(weight) OVER (ORDER BY id) - weight + 1e-9 AS before, sum(weight) OVER () AS total FROM missing),
    placed AS (
        SELECT id, CASE WHEN total < 2 * %(last)s OR before < whole THEN floor(before)
                        ELSE whole + floor(%(parts)s * (before - whole)) END AS batch
        FROM summed, LATERAL (SELECT floor(total - %(last)s) AS whole) AS w),
    planned AS (
        INSERT INTO embeddings_embeddingbatch (run_id, first_id, last_id, size, state, job_id, error)
        SELECT %(run)s, min(id), max(id), count(*), 'waiting', '', '' FROM placed GROUP BY batch ORDER BY batch
        RETURNING size)
    SELECT COALESCE(sum(size), 0)::bigint FROM planned
"""
_COUNT = """
    SELECT count(*), COALESCE(max(id), 0),
           (SELECT count(*) FROM embeddings_setaside AS s JOIN embeddings_chunk AS c USING (content_sha)
            WHERE s.model_id = %(model)s AND c.collection_id = %(collection)s AND c.id > %(after)s)
    FROM embeddings_chunk WHERE collection_id = %(collection)s AND id > %(after)s
"""
_OPEN_SPAN = """
    SELECT COALESCE(min(first_id), 0), COALESCE(max(last_id), -1) FROM embeddings_embeddingbatch
    WHERE run_id = %s AND state IN ('waiting', 'sent')
"""
# Asked by whoever holds the run's row, so that of several batches that end at once the last one sees them all.
_STANDING = """
    SELECT (SELECT count(*) FROM embeddings_embeddingbatch WHERE run_id = r.id AND state = 'sent'),
           EXISTS (SELECT FROM embeddings_embeddingbatch WHERE run_id = r.id AND state = 'waiting'),
           EXISTS (SELECT FROM jobs_job WHERE id = r.job_id AND state IN ('cancelled', 'discarded'))
    FROM embeddings_embeddingrun AS r WHERE r.id = %s
"""


@dataclass(frozen=True)
class BatchLimits:
    """The most that a batch holds."""

    chunks: int
    tokens: float


def plan(run: EmbeddingRun, *, after_id: int = 0, job_id: str = "") -> bool:
    """Cut what a run's model lacks, and no open batch covers, into batches, and set the run going.

    after_id: look at chunks above this id alone. job_id: the job that waits for the run from now on. A run that is
    planned again grows. Returns False, changing nothing, if it has ended or another process is planning it.
    """
    assert run.model_id is not None
    with transaction.atomic(), connection.cursor() as cursor:
        if not lock_plan(run.pk):
            return False
        cursor.execute(_OPEN_SPAN, [run.pk])
        open_from, open_to = cursor.fetchone()
        limits = limits_for(run.model_id)
        given: dict[str, Any] = {"run": run.pk, "collection": run.collection_id, "model": run.model_id}
        given |= {"after": after_id, "open_from": open_from, "open_to": open_to}
        cursor.execute(_COUNT, given)
        chunks, planned_to, set_aside = cursor.fetchone()
        last = _children()
        parts = LAST_PARTS if last > 1 and limits.chunks >= LEAST_CUT_CHUNKS else 1
        cursor.execute(_PLAN, {**given, "chunks": limits.chunks, "tokens": limits.tokens, "last": last, "parts": parts})
        new = cursor.fetchone()[0]
        unchanged = 0 if after_id else max(0, chunks - new - set_aside)
        if not _set_going(cursor, run.pk, new, unchanged, planned_to, run.model_id, job_id):
            transaction.set_rollback(True)
            return False
    return True


def lock_plan(run_id: int) -> bool:
    """Be the only one who plans a run until the caller's transaction ends; False if another one is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_PLANNER, run_id % 2**31])
        return bool(cursor.fetchone()[0])


def _set_going(cursor: Any, run_id: int, new: int, unchanged: int, planned_to: int, model_id: int, job_id: str) -> bool:
    """Add what was planned to the run, unless it has ended meanwhile. What open batches cover is not unchanged."""
    cursor.execute(
        """
        UPDATE embeddings_embeddingrun
        SET state = 'running', total = total + %s, planned_to = GREATEST(planned_to, %s), model_id = %s,
            unchanged = CASE WHEN started_at IS NULL THEN %s ELSE unchanged END,
            started_at = COALESCE(started_at, clock_timestamp()), job_id = COALESCE(NULLIF(%s, ''), job_id)
        WHERE id = %s AND state IN ('planning', 'running')
        """,
        [new, planned_to, model_id, unchanged, job_id, run_id],
    )
    return bool(cursor.rowcount)


def limits_for(model_id: int) -> BatchLimits:
    """What a batch may hold so that it takes about a second by this model, as fast as it was in its latest runs."""
    least = settings.EMBEDDINGS["BATCH_CHUNKS"]
    recent = EmbeddingRun.objects.filter(model_id=model_id, state=RunState.DONE, cpu_seconds__gte=0.2).order_by("-id")
    seen = EmbeddingRun.objects.filter(pk__in=recent.values("pk")[:5]).aggregate(
        tokens=Sum("tokens"), seconds=Sum("cpu_seconds")
    )
    if not seen["tokens"]:
        return BatchLimits(least, USUAL_TOKENS_PER_SECOND * BATCH_SECONDS)
    speed = seen["tokens"] / seen["seconds"]
    growth = min(max(speed / USUAL_TOKENS_PER_SECOND, 1.0), MOST_GROWTH)
    return BatchLimits(int(least * growth), min(speed * BATCH_SECONDS, MOST_TOKENS))


def _children() -> int:
    """How many processes there are for batches: those of living workers, else as many as one worker has."""
    alive = workers().filter(state="alive").values_list("children", "queues")
    return sum(count for count, queues in alive if QUEUE in queues) or LANES[QUEUE].children


def window() -> int:
    """How many jobs of one run may be sent and unfinished: fewer while others crowd the queue."""
    children = _children()
    most = children * JOBS_PER_CHILD
    waiting = Job.objects.filter(queue=QUEUE, state=State.QUEUED).order_by()[: 4 * most + 1].count()
    return children if waiting > 4 * most else most


_recent: tuple[float, int] = (-WINDOW_SECONDS, 0)


def _recent_window() -> int:
    """The window, as it was a moment ago."""
    global _recent
    now = time.monotonic()
    if now - _recent[0] >= WINDOW_SECONDS:
        _recent = (now, window())
    return _recent[1]


def needs_looking_after(run_id: int) -> bool:
    """After a batch: whether the run ends, its job is gone, or half of its window is empty while batches wait.

    By halves, because several jobs are sent for little more than one. The caller has written to the run's row.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, [run_id])
        sent, is_waiting, is_job_gone = cursor.fetchone() or (0, False, False)
    return not sent or is_job_gone or (is_waiting and sent <= _recent_window() // 2)


def send_waiting(run: EmbeddingRun) -> int:
    """Send jobs of a running run's waiting batches until its window is full, in the caller's transaction.

    The caller holds the run's row. Returns how many were sent.
    """
    from embeddings.tasks import embed_batch

    room = window() - EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT).count()
    batches = claim_waiting(run.pk, room) if room > 0 else []
    # Not one under another: the jobs of a run are siblings.
    family = {"parent_id": run.job_id} if run.job_id else {}
    with collecting() as records:
        for batch in batches:
            sent = embed_batch.apply_async(
                kwargs={"run_id": run.pk, "first_id": batch.first_id, "last_id": batch.last_id},
                priority=PRIORITY.get(RunKind(run.kind), BULK_PRIORITY),
                **family,
            )
            batch.job_id = sent.id
    enter_now(records)
    for batch in batches:
        batch.job_id = holder_of(batch.job_id)
    EmbeddingBatch.objects.bulk_update(batches, ["job_id"])
    return len(batches)


def claim_waiting(run_id: int, most: int) -> list[EmbeddingBatch]:
    """waiting → sent, for at most so many batches that nobody else is claiming, the lowest ids first."""
    with transaction.atomic():
        waiting = EmbeddingBatch.objects.filter(run_id=run_id, state=BatchState.WAITING).order_by("id")
        batches = list(waiting.select_for_update(skip_locked=True)[:most])
        EmbeddingBatch.objects.filter(pk__in=[batch.pk for batch in batches]).update(state=BatchState.SENT)
    return batches


def lock_run(run_id: int) -> EmbeddingRun | None:
    """The run's row, locked until the caller's transaction ends; None if it is gone."""
    return EmbeddingRun.objects.select_for_update(of=("self",), no_key=True).filter(pk=run_id).first()
