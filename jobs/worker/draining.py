"""The end of a worker: running jobs get a set time, then they are handed back without using up an attempt."""

import contextlib
import logging
import os
import threading
from typing import Any

import psutil
import psycopg
from celery.worker import state as worker_state
from django.conf import settings

from jobs.ledger import states
from jobs.ledger.connection import LedgerConnection
from jobs.worker import processes
from jobs.worker.heartbeat import leave
from jobs.worker.request import all_of

logger = logging.getLogger(__name__)


class Drain:
    """Celery's warm shutdown waits for running tasks as long as they like; this one ends it."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """Called once the worker has begun to stop; it takes no further messages."""
        if self._timer is None:
            seconds = settings.JOBS["DRAIN_SECONDS"]
            self._timer = threading.Timer(seconds, self._hand_back, [seconds])
            self._timer.daemon = True
            self._timer.start()

    def _hand_back(self, seconds: float) -> None:
        """Give what still runs, and what waits here, to other workers; then end this process and its children.

        Without Postgres nothing can be handed back: the jobs are rescued later, as if the worker had died.
        """
        try:
            self._end_jobs(seconds)
        except Exception:
            # Else the main thread would wait for ever for children that are suspended.
            logger.exception("The worker ends without having ended all of its children in order")
        finally:
            os._exit(0)

    def _end_jobs(self, seconds: float) -> None:
        name = str(self.worker.hostname)
        text = f"its worker {name} was stopped, and it did not end within {seconds:g} s"
        # Stopped, no child can do anything between the handing back and its end.
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.suspend()
        try:
            handed = LedgerConnection(durable=True).use(lambda connection: _give_back(connection, name, text))
            logger.warning("%d jobs did not end within %g s and are handed back", handed, seconds)
        except psycopg.Error as exc:
            logger.warning("Running jobs could not be handed back: %s", str(exc).strip()[:200])
        for child in psutil.Process().children():
            processes.end_child(child.pid)


def _give_back(connection: psycopg.Connection[tuple[Any, ...]], name: str, text: str) -> int:
    fetched = [request.id for request in all_of(worker_state.reserved_requests)]
    with connection.cursor() as cursor:
        runs = [
            {
                "id": run["id"],
                "claim_id": run["claim_id"],
                "is_crash": False,
                "outcome": "handed_back",
                "kind": "handed_back",
                "error": text,
                "text": f"Handed back: {text}. The job is queued again.",
            }
            for run in states.running_of(cursor, name)
        ]
        handed = states.requeue(cursor, runs)
        leave(cursor, name)
        # Last, as it may find that somebody holds one of these rows; the sweep of lost messages would see to them.
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            states.owe_again(cursor, fetched, "the worker that had fetched it was stopped")
    return len(handed)
