"""Writes plain successes in groups: one statement for all that ended within two milliseconds, or six when busy.

One daemon thread a process. A finish that is not yet on disk when the process dies leaves its job running in the
ledger, to be rescued; so nothing is lost, and the window is the linger.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

import psycopg

from jobs.ledger import states
from jobs.ledger.connection import finishes, impatient
from jobs.ledger.publisher import admit_soon
from jobs.models import Outcome, State

logger = logging.getLogger(__name__)

LINGER_SECONDS = 0.002
#: When several ended within the last linger: larger groups cost Postgres a third less a job.
BUSY_LINGER_SECONDS = 0.006
MAX_GROUP = 256
#: A row that somebody held for longer than a statement waits is looked at again so often, and for so short a time.
LOOK_AGAIN_SECONDS = 0.5
GLANCE_SECONDS = 0.05


class Flusher(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="ledger-flusher", daemon=True)
        self.waiting: queue.Queue[Mapping[str, Any]] = queue.Queue(MAX_GROUP * 4)
        #: Set while somebody waits for the finishes to be on disk: then there is no lingering.
        self.hurry = threading.Event()
        #: Finishes whose rows somebody else holds. Those that come after them do not wait for them: a job that is long
        #: over, and still said to run, would be taken for lost and run again.
        self.locked: list[Mapping[str, Any]] = []
        self._look_again_at = 0.0

    def run(self) -> None:
        is_busy = False
        while True:
            group = self._next_group(is_busy=is_busy)
            is_busy = len(group) > 1
            if group:
                self._try(group, GLANCE_SECONDS if self.locked else None)
            if self.locked and time.monotonic() >= self._look_again_at:
                before, self.locked = self.locked, []
                for finish in before:
                    self._try([finish], GLANCE_SECONDS)
                self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS

    def _next_group(self, *, is_busy: bool) -> list[Mapping[str, Any]]:
        """What ended within the linger; nothing, after a while, when there are locked rows to look after."""
        try:
            group = [self.waiting.get(timeout=LOOK_AGAIN_SECONDS if self.locked else None)]
        except queue.Empty:
            return []
        self.hurry.wait(BUSY_LINGER_SECONDS if is_busy else LINGER_SECONDS)
        while len(group) < MAX_GROUP:
            try:
                group.append(self.waiting.get_nowait())
            except queue.Empty:
                break
        return group

    def _try(self, group: list[Mapping[str, Any]], lock_seconds: float | None) -> None:
        """Write these finishes, or put those aside whose rows somebody holds."""
        locked: list[Mapping[str, Any]] = []
        try:
            locked = self._write(group, lock_seconds)
        except Exception:  # whatever it is: without this thread, no job of this process would end any more
            if len(group) > 1:  # one that was written already is passed over
                for finish in group:
                    self._try([finish], GLANCE_SECONDS)
                return
            logger.exception("The finish of job %s could not be written; it will be rescued", group[0]["id"])
        self.locked += locked
        for _ in range(len(group) - len(locked)):
            self.waiting.task_done()

    def _write(self, group: list[Mapping[str, Any]], lock_seconds: float | None) -> list[Mapping[str, Any]]:
        """Write these finishes. Returns those whose rows somebody holds for longer than `lock_seconds`.

        None: for longer than a statement of this connection waits.
        """
        try:
            done = _succeed(group, lock_seconds)
        except psycopg.errors.LockNotAvailable:
            return group if len(group) == 1 else self._write_each(group)
        except psycopg.Error as exc:
            if len(group) > 1:
                return self._write_each(group)
            return [] if _fail(group[0], exc) else group
        if any(finish.get("has_slot") for finish in group):
            admit_soon()
        for finish in group:
            if finish["id"] not in done:
                logger.warning("Job %s had moved on; this finish of it counts for nothing", finish["id"])
                _keep(finish)
        return []

    def _write_each(self, group: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """One by one: one that is bad, or whose row is held, must not take its neighbours along."""
        return [locked for finish in group for locked in self._write([finish], GLANCE_SECONDS)]


def _succeed(group: list[Mapping[str, Any]], lock_seconds: float | None) -> set[str]:
    def write(connection: psycopg.Connection[tuple[Any, ...]]) -> set[str]:
        with connection.cursor() as cursor:
            if lock_seconds is None:
                return states.succeed(cursor, group)
            with impatient(connection, lock_seconds):
                return states.succeed(cursor, group)

    return finishes().insist(write, also_for_locks=False)


def _fail(finish: Mapping[str, Any], exc: psycopg.Error) -> bool:
    """A success that Postgres will not take must still end the job, or it would seem to run for ever.

    Returns False if somebody holds its row.
    """
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

    try:
        finishes().insist(write, also_for_locks=False)
    except psycopg.errors.LockNotAvailable:
        return False
    return True


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
