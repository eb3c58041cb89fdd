"""What waits for a job that will not run any more - cancelled, or lost too often - is failed, and says so."""

from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Collate, Now

from jobs.models import Job, State
from reviews.models import CodeIndex, IndexState, Reply, ReplyStatus
from reviews.services.rendering import mask

MOST = 1000
MAX_WORDS = 1000
_OVER = (State.FAILED, State.CANCELLED, State.DISCARDED)


def waiting_in_vain(rows: "QuerySet[Any]") -> list[tuple[Any, str]]:
    """Of rows with a `job_id`, those whose job is over and did not succeed, each with why; up to a thousand."""
    # The key of jobs has a collation of its own, which a comparison of two columns must name.
    over = Job.objects.filter(pk=Collate(OuterRef("job_id"), "C"), state__in=_OVER)
    lost = rows.annotate(job_state=Subquery(over.values("state")[:1]), job_error=Subquery(over.values("error")[:1]))
    return [(row, _why(row)) for row in lost.filter(job_state__isnull=False)[:MOST]]


def _why(row: Any) -> str:
    said = f"its job {row.job_id} is {row.job_state}" + (f": {row.job_error}" if row.job_error else "")
    return mask(said)[:MAX_WORDS]


def settle_replies() -> int:
    """How many comments were left without an answer."""
    unfinished = Reply.objects.filter(status__in=(ReplyStatus.PENDING, ReplyStatus.RUNNING))
    return sum(
        unfinished.filter(pk=reply.pk, job_id=reply.job_id).update(
            status=ReplyStatus.FAILED, outcome=why, finished_at=Now()
        )
        for reply, why in waiting_in_vain(unfinished)
    )


def settle_indexes() -> int:
    """How many repositories' indexes stay as they are. A run that was cut off leaves what it has stored."""
    unfinished = CodeIndex.objects.filter(state__in=(IndexState.QUEUED, IndexState.RUNNING))
    return sum(
        unfinished.filter(pk=index.pk, job_id=index.job_id).update(state=IndexState.FAILED, error=why)
        for index, why in waiting_in_vain(unfinished)
    )
