"""Writes plain successes in groups: one statement for all that ended within two milliseconds, or six when busy.

One daemon thread a process. A finish that is not yet on disk when the process dies leaves its job running in the
ledger, to be rescued; so nothing is lost, and the window is the linger.
"""

import logging
import os
import queue
import threading
from collections.abc import Mapping
from typing import Any

import psycopg

from jobs.ledger import states
from jobs.ledger.connection import finishes
from jobs.ledger.publisher import admit_soon
from jobs.models import Outcome, State

logger = logging.getLogger(__name__)

LINGER_SECONDS = 0.002
#: When several ended within the last linger: larger groups cost Postgres a third less a job.
BUSY_LINGER_SECONDS = 0.006
MAX_GROUP = 256


class Flusher(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="ledger-flusher", daemon=True)
        self.waiting: queue.Queue[Mapping[str, Any]] = queue.Queue(MAX_GROUP * 4)
        #: Set while somebody waits for the finishes to be on disk: then there is no lingering.
        self.hurry = threading.Event()

    def run(self) -> None:
        is_busy = False
        while True:
            group = [self.waiting.get()]
            self.hurry.wait(BUSY_LINGER_SECONDS if is_busy else LINGER_SECONDS)
            while len(group) < MAX_GROUP:
                try:
                    group.append(self.waiting.get_nowait())
                except queue.Empty:
                    break
            is_busy = len(group) > 1
            try:
                self._write(group, waits_for_locks=len(group) == 1)
            finally:
                for _ in group:
                    self.waiting.task_done()

    def _write(self, group: list[Mapping[str, Any]], *, waits_for_locks: bool = False) -> None:
        try:
            done = _succeed(group, waits_for_locks=waits_for_locks)
        except psycopg.errors.LockNotAvailable:
            if len(group) == 1:
                raise
            self._write_around_locks(group)
            return
        except psycopg.Error as exc:
            if len(group) == 1:
                _fail(group[0], exc)
                return
            for finish in group:  # one bad finish must not take its neighbours along
                self._write([finish], waits_for_locks=True)
            return
        if any(finish.get("has_slot") for finish in group):
            admit_soon()
        for finish in group:
            if finish["id"] not in done:
                logger.warning("Job %s had moved on; this finish of it counts for nothing", finish["id"])
                _keep(finish)

    def _write_around_locks(self, group: list[Mapping[str, Any]]) -> None:
        """Somebody holds the row of one of these jobs: the others shall not wait for it."""
        locked = []
        for finish in group:
            try:
                self._write([finish])
            except psycopg.errors.LockNotAvailable:
                locked.append(finish)
        for finish in locked:
            self._write([finish], waits_for_locks=True)


def _succeed(group: list[Mapping[str, Any]], *, waits_for_locks: bool) -> set[str]:
    def write(connection: psycopg.Connection[tuple[Any, ...]]) -> set[str]:
        with connection.cursor() as cursor:
            return states.succeed(cursor, group)

    return finishes().insist(write, also_for_locks=waits_for_locks)


def _fail(finish: Mapping[str, Any], exc: psycopg.Error) -> None:
    """A success that Postgres will not take must still end the job, or it would seem to run for ever."""
    logger.error("The finish of job %s cannot be written", finish["id"], exc_info=exc)
    error = f"its result could not be stored: {type(exc).__name__}"

    def write(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
        with connection.cursor() as cursor:
            return states.end_attempt(
                cursor,
                finish["id"],
                finish["claim_id"],
                state=State.FAILED,
                outcome=Outcome.FAILED,
                error=error,
                message=str(exc),
            )

    finishes().insist(write)


def _keep(finish: Mapping[str, Any]) -> None:
    def write(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        with connection.cursor() as cursor:
            keep_superseded(cursor, finish, "succeeded")

    finishes().insist(write)


def keep_superseded(cursor: states.Cursor, fence: Mapping[str, Any], what: str) -> None:
    """Keep as a superseded attempt what a run did that came back after its job had moved on."""
    states.keep_superseded(
        cursor,
        job_id=fence["id"],
        claim_id=fence["claim_id"],
        number=fence["number"],
        worker=fence["worker"],
        pid=fence["pid"],
        message=f"Run {fence['number']} came back and {what}, after the job had moved on; it counts for nothing.",
    )


_of_this_process: dict[int, Flusher] = {}


def finish_soon(finish: Mapping[str, Any]) -> None:
    """Queue a plain success for the next flush; waits only when flushes fall behind."""
    flusher = _of_this_process.get(os.getpid())
    if flusher is None:
        flusher = _of_this_process[os.getpid()] = Flusher()
        flusher.start()
    flusher.waiting.put(finish)


def drain() -> None:
    """Wait until every finish queued by this process is on disk."""
    flusher = _of_this_process.get(os.getpid())
    if flusher is not None:
        flusher.hurry.set()
        flusher.waiting.join()
        flusher.hurry.clear()
