"""How a run ends, and what follows from it."""

from django.db import connection, transaction
from django.db.models.functions import Now

from embeddings.models import BatchState, EmbeddingBatch, EmbeddingRun, RunKind, RunState
from embeddings.models.run import OPEN_BATCHES, OPEN_RUNS
from embeddings.services import planning
from jobs import hasten
from jobs.models import Job, State
from jobs.models.job import UNFINISHED

MAX_ERROR = 10_000
# Whoever plans a run without a job may be loading, or even building, its encoder first, for which it waits 10 minutes.
_IS_ABANDONED = """
    SELECT CASE WHEN %(job)s = '' THEN created_at < clock_timestamp() - interval '15 minutes'
                ELSE NOT EXISTS (SELECT 1 FROM jobs_job WHERE id = %(job)s AND state = ANY(%(unfinished)s)) END
    FROM embeddings_embeddingrun WHERE id = %(run)s
"""


def finish_if_done(run: EmbeddingRun) -> bool:
    """End a running run none of whose batches is open. The caller holds its row; it may be ended already."""
    if EmbeddingBatch.objects.filter(run=run, state__in=OPEN_BATCHES).exists():
        return False
    if not end(run, RunState.DONE):
        return False
    from embeddings.services import fitting, rebuilding

    fitting.after_run(run)
    if run.kind == RunKind.CATCH_UP and not run.job_id:
        rebuilding.rebuild_if_much_is_new(run.collection)
    return True


def end(run: EmbeddingRun, state: RunState, error: str = "") -> bool:
    """planning, running → done, failed or cancelled, and wake who waits. False, changing nothing, if it has ended.

    The caller holds the run's row.
    """
    ended = EmbeddingRun.objects.filter(pk=run.pk, state__in=OPEN_RUNS).update(
        state=state, finished_at=Now(), error=error[:MAX_ERROR]
    )
    if not ended:
        return False
    EmbeddingBatch.objects.filter(run=run, state__in=(BatchState.WAITING, BatchState.DONE)).delete()
    run.state, run.error = state, error
    if run.job_id:
        hasten(run.job_id)
    return True


def fail(run_id: int, error: str) -> None:
    """End a run that cannot go on."""
    with transaction.atomic():
        run = planning.lock_run(run_id)
        if run is not None:
            end(run, RunState.FAILED, error)


def fail_if_abandoned(run_id: int) -> bool:
    """End a run that nobody is planning or will plan, as failed. False, changing nothing, if it is none."""
    with transaction.atomic(), connection.cursor() as cursor:
        if not planning.lock_plan(run_id):
            return False
        # What was read before the lock may have been planned meanwhile.
        run = planning.lock_run(run_id)
        if run is None or run.state != RunState.PLANNING:
            return False
        cursor.execute(_IS_ABANDONED, {"run": run_id, "job": run.job_id, "unfinished": list(UNFINISHED)})
        return bool(cursor.fetchone()[0]) and end(
            run, RunState.FAILED, "its job ended before it was planned; start it again"
        )


def cancel(run_id: int, why: str) -> bool:
    """End a run on purpose: what is being embedded is still kept, and no more is sent. False if it has ended."""
    with transaction.atomic():
        run = planning.lock_run(run_id)
        return run is not None and end(run, RunState.CANCELLED, why)


def cancel_if_nobody_waits(run: EmbeddingRun) -> bool:
    """End a run whose job was cancelled or discarded meanwhile. The caller holds its row."""
    if not run.job_id:
        return False
    gone = Job.objects.filter(pk=run.job_id, state__in=(State.CANCELLED, State.DISCARDED)).only("state").first()
    if gone is None or not end(run, RunState.CANCELLED, f"its job {run.job_id} was {gone.state}"):
        return False
    let_go(run.job_id)
    return True


def let_go(job_id: str) -> None:
    """Have a job that is run again make runs of its own, because those that it waited for ended otherwise than well."""
    EmbeddingRun.objects.filter(job_id=job_id).exclude(state__in=OPEN_RUNS).update(job_id="")


def seconds_since_start(collection_id: int) -> float:
    """Since the first of a collection's open runs began, by Postgres' clock; 0 if there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT COALESCE(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
            FROM embeddings_embeddingrun WHERE collection_id = %s AND state IN ('planning', 'running')
            """,
            [collection_id],
        )
        return float(cursor.fetchone()[0])
