"""Jobs that Celery has forgotten while a child may be running them.

When the broker goes away, Celery drops every request that no child has accepted yet. A child that has been given one,
and is slow to say so, runs it all the same: unknown to its main process, it would be taken for lost, and run again. Nor
does Celery keep its limits any more, or can it be cancelled: what takes too long is ended here, with its child.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from celery import current_app
from django.conf import settings

from jobs.ledger import states
from jobs.ledger.lease import clock
from jobs.ledger.states import Cursor
from jobs.worker import processes

logger = logging.getLogger(__name__)

#: For how long a child may take to begin with what it was given.
KEPT_SECONDS = 600.0

#: id → when it was forgotten.
_forgotten: dict[str, float] = {}


def note(ids: Iterable[str]) -> None:
    """Note what Celery is about to forget. In the main thread."""
    _forgotten.update(dict.fromkeys(ids, clock()))


def still_run(cursor: Cursor, worker: str, children: Collection[int]) -> set[str]:
    """The ids of the forgotten jobs that these children of the worker run, by their process ids.

    A child whose job takes too long is killed, and the job found lost thereafter.
    """
    if not _forgotten:
        return set()
    rows = [row for row in states.running_of(cursor, worker) if row["pid"] in children and row["id"] in _forgotten]
    for row in rows:
        if _is_overdue(row):
            logger.warning("Job %s takes too long: its process %d is killed", row["id"], row["pid"])
            processes.end_child(row["pid"])
    running = {row["id"] for row in rows}
    too_old = clock() - KEPT_SECONDS
    for job_id in [job_id for job_id, since in list(_forgotten.items()) if since < too_old and job_id not in running]:
        del _forgotten[job_id]
    return running


def _is_overdue(row: Mapping[str, Any]) -> bool:
    """Whether it is past its hard limit, or was asked to stop long ago."""
    task = current_app.tasks.get(row["task"])
    hard = getattr(task, "time_limit", None) or current_app.conf.task_time_limit
    patience = settings.JOBS["CANCEL_SOFT_SECONDS"] + settings.JOBS["CANCEL_KILL_SECONDS"]
    return bool(hard and row["seconds"] > hard) or (row["asked_seconds"] or 0.0) > patience


def children_of(worker: Any) -> set[int]:
    """The process ids of a pool's children."""
    children = getattr(getattr(worker.pool, "_pool", None), "_pool", None) or ()
    return {child.pid for child in list(children)}
