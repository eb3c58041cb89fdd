"""Looks after a run whose jobs end otherwise than well: tries batches again, splits them, or gives the run up."""

from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from embeddings.models import BatchState, EmbeddingBatch, EmbeddingRun, RunState
from embeddings.services import batches, endings, planning, poison

#: A run that has embedded nothing, and of which so many batches failed, fails: it is not the texts.
MOST_FAILED_BATCHES = 10
_POSTGRES_AWAY = ("django.db.utils.OperationalError", "django.db.utils.InterfaceError")
_UNAVAILABLE = ("embeddings.encoders.base.EncoderUnavailable", "embeddings.encoders.registry.UnknownEncoder")

# Skipping what is locked: a run that had been taken for lost may be writing after all.
_STUCK = """
    SELECT b.id, j.state, COALESCE(j.error, ''),
           (SELECT a.error_class FROM jobs_attempt AS a WHERE a.job_id = j.id ORDER BY a.number DESC LIMIT 1)
    FROM embeddings_embeddingbatch AS b LEFT JOIN jobs_job AS j ON j.id = b.job_id
    WHERE b.run_id = %s AND b.state = 'sent' AND (j.id IS NULL OR j.state NOT IN ('scheduled', 'queued', 'running'))
    ORDER BY b.id FOR UPDATE OF b SKIP LOCKED
"""


@dataclass(frozen=True)
class _Stuck:
    """A batch whose job has ended without it. job_state: None if the job is gone."""

    batch_id: int
    job_state: str | None
    error: str
    error_class: str | None

    @property
    def is_to_be_sent_again(self) -> bool:
        """Whether the end of its job says nothing of its texts."""
        return self.job_state in (None, "succeeded") or self.error_class in _POSTGRES_AWAY


def look_after(run_id: int) -> RunState | None:
    """Deal with batches whose jobs have ended without them, and send what may be sent. Returns the run's state."""
    with transaction.atomic():
        run = planning.lock_run(run_id)
        if run is None:
            return None
        if run.state == RunState.RUNNING and not endings.cancel_if_nobody_waits(run):
            error = _deal_with_stuck(run)
            if error:
                endings.end(run, RunState.FAILED, error)
            else:
                batches.go_on(run.pk)
        return RunState(EmbeddingRun.objects.values_list("state", flat=True).get(pk=run_id))


def _deal_with_stuck(run: EmbeddingRun) -> str:
    """Returns why the run cannot go on, or nothing."""
    stuck = _find_stuck(run.pk)
    if not stuck:
        return ""
    unavailable = next((one for one in stuck if one.error_class in _UNAVAILABLE), None)
    if unavailable is not None:
        return unavailable.error
    failed = [one for one in stuck if not one.is_to_be_sent_again]
    if failed and not run.encoded and _count_failed(run.pk) + len(failed) >= MOST_FAILED_BATCHES:
        return f"{MOST_FAILED_BATCHES} batches failed and none succeeded; the latest: {failed[-1].error}"
    again = [one.batch_id for one in stuck if one.is_to_be_sent_again]
    EmbeddingBatch.objects.filter(pk__in=again).update(state=BatchState.WAITING, job_id="")
    for one in failed:
        reason = one.error or f"its job was {one.job_state}"
        poison.split(run, EmbeddingBatch.objects.get(pk=one.batch_id), reason)
    return ""


def _find_stuck(run_id: int) -> list[_Stuck]:
    with connection.cursor() as cursor:
        cursor.execute(_STUCK, [run_id])
        rows: list[Any] = cursor.fetchall()
    return [_Stuck(*row) for row in rows]


def _count_failed(run_id: int) -> int:
    return EmbeddingBatch.objects.filter(run_id=run_id, state__in=(BatchState.SPLIT, BatchState.SET_ASIDE)).count()
