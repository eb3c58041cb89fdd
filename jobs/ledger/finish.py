"""How a run ends. Whatever Celery sends because of it is inserted in the same transaction, or not at all."""

import logging
import time
import traceback as tracebacks
from collections.abc import Callable, Mapping
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from django.db import InterfaceError, OperationalError, connection, transaction

from jobs.ledger import states, workflow
from jobs.ledger.connection import LOCAL_LIMITS, LONGEST_PAUSE_SECONDS
from jobs.ledger.door import enter_now
from jobs.ledger.errors import JobCancelled
from jobs.ledger.events import note
from jobs.ledger.flusher import drain, finish_soon, keep_superseded
from jobs.ledger.publisher import admit_soon
from jobs.ledger.records import Record, clean_text
from jobs.ledger.run import Run, run_of_row
from jobs.models import Outcome, State

logger = logging.getLogger(__name__)

MACHINERY = ("jobs/worker/task.py", "celery/app/trace.py", "celery/app/autoretry.py")
MAX_TRACEBACK = 50_000
MAX_MESSAGE = 10_000


def succeed(run: Run, result: Mapping[str, Any], *, keep: bool, parts: Callable[[], None] | None = None) -> None:
    """running → succeeded.

    result: the columns that LedgerBackend.result_columns encodes. parts: Celery's work on a chord this job belongs
    to, done in the finish's transaction. Without parts and held sends, the finish is left to the flusher.
    """
    row = {**run.fence, "has_slot": run.has_slot, "keep": keep, **result}
    if run.own is not None:
        # The task sent itself again (retry with throw=False) and then returned.
        reschedule(run, outcome=Outcome.RETRIED)
        return
    if parts is None and not run.held and not run.chords:
        run.finished = True
        finish_soon(row)
        return

    def finish(cursor: states.Cursor) -> bool:
        return run.job_id in states.succeed(cursor, [row])

    _in_one_transaction(run, finish, parts)


def fail(
    run: Run,
    exc: BaseException,
    traceback: str | None,
    store: Callable[[], None],
    parts: Callable[[], None],
    *,
    is_crash: bool = False,
) -> None:
    """running → failed. store: writes the result; parts: chord, chain and errbacks, done in the same transaction."""
    _end(
        run,
        State.FAILED,
        Outcome.CRASHED if is_crash else Outcome.FAILED,
        parts=parts,
        exc=exc,
        traceback=traceback,
        then=lambda cursor: store(),
        is_crash=is_crash,
        is_counted=not is_crash,
    )


def reschedule(
    run: Run,
    *,
    outcome: Outcome,
    exc: BaseException | None = None,
    traceback: str | None = None,
    delay_seconds: float | None = None,
    store: Callable[[], None] | None = None,
) -> None:
    """running → scheduled, for another attempt after `delay_seconds`, or as the job's own send says."""
    own = run.own
    if own is not None:
        delay_seconds = own.delay_seconds if own.delay_seconds is not None else (None if own.run_at else 0.0)
    _end(
        run,
        State.SCHEDULED,
        outcome,
        exc=exc,
        traceback=traceback,
        then=lambda cursor: store() if store is not None else None,
        delay_seconds=delay_seconds,
        own=own,
    )


def await_replacement(run: Run) -> None:
    """running → scheduled, without a time: a canvas that ends in this job's id was sent in its place."""
    _end(run, State.SCHEDULED, Outcome.SUCCEEDED, is_refused_if_asked=False, forever=True)


def stop(run: Run, reason: str, how: str, store: Callable[[], None], parts: Callable[[], None]) -> None:
    """running → cancelled, on an operator's request. how: what made it stop."""

    def then(cursor: states.Cursor) -> None:
        note(cursor, run.job_id, "cancelled", f"Cancelled: {how}.", attempt=run.number)
        store()

    _end(
        run,
        State.CANCELLED,
        Outcome.CANCELLED,
        parts=parts,
        is_refused_if_asked=False,
        then=then,
        reason=reason,
        message=how,
    )


def crash(run: Run, exc: BaseException, traceback: str | None = None) -> None:
    """running → queued at once: the run took its process with it. Uses up no attempt, but is counted."""

    def then(cursor: states.Cursor) -> None:
        text = f"Run {run.number} crashed ({describe(exc, traceback)['error']}). The job is queued again."
        note(cursor, run.job_id, "rescued", text, attempt=run.number, worker=run.worker, pid=run.pid)

    _end(
        run,
        State.QUEUED,
        Outcome.CRASHED,
        exc=exc,
        traceback=traceback,
        then=then,
        is_crash=True,
        is_counted=False,
    )


def snooze(run: Run, seconds: float, why: str) -> None:
    """running → scheduled for `seconds`, without using up an attempt."""
    why = clean_text(why)

    def then(cursor: states.Cursor) -> None:
        reason = f": {why}" if why else ""
        note(cursor, run.job_id, "snoozed", f"The task asked to run again in {seconds:g} s{reason}.")

    _end(run, State.SCHEDULED, Outcome.SNOOZED, then=then, delay_seconds=seconds, is_counted=False, message=why)


def give_up(run: Run, reason: str, store: Callable[[], None], parts: Callable[[], None]) -> None:
    """running → discarded: the task says that nobody wants it any more."""
    _end(
        run,
        State.DISCARDED,
        Outcome.DISCARDED,
        parts=parts,
        is_refused_if_asked=False,
        then=lambda cursor: store(),
        reason=clean_text(reason)[:1000],
    )


def _end(
    run: Run,
    state: State,
    outcome: Outcome,
    *,
    parts: Callable[[], None] | None = None,
    exc: BaseException | None = None,
    traceback: str | None = None,
    is_refused_if_asked: bool = True,
    then: Callable[[states.Cursor], object] | None = None,
    **how: Any,
) -> None:
    """End a run in any way but plain success. then: what belongs to it, if the claim still holds; parts: Celery's work.

    is_refused_if_asked: a run that was asked to stop is cancelled instead (JobCancelled is raised). how: what
    states.end_attempt takes besides.
    """
    details = {**describe(exc, traceback), **how}

    def finish(cursor: states.Cursor) -> bool:
        if is_refused_if_asked:
            _refuse_if_asked(cursor, run, exc)
        ended = states.end_attempt(cursor, run.job_id, run.claim_id, state=state, outcome=outcome, **details)
        if ended and then is not None:
            then(cursor)
        return ended

    _in_one_transaction(run, finish, parts)


def how_ended(exc: BaseException | None) -> str:
    """For the record of a job that was asked to stop, and then ended in another way than by a success."""
    return f"it ended with {describe(exc)['error']}" if exc is not None else "it asked for another run"


def _refuse_if_asked(cursor: states.Cursor, run: Run, exc: BaseException | None = None) -> None:
    """Raise JobCancelled if the run was asked to stop: then it is cancelled by whatever ends it, unless it succeeds.

    Locks the row, so that no request comes in between.
    """
    cursor.execute(
        "SELECT cancel_requested_at IS NOT NULL FROM jobs_job WHERE id = %s AND claim_id = %s FOR UPDATE",
        [run.job_id, run.claim_id],
    )
    if (True,) in cursor.fetchall():
        raise JobCancelled(how=how_ended(exc))


def describe(exc: BaseException | None, traceback: str | None = None) -> dict[str, Any]:
    """What an attempt keeps of an error: class, message, traceback and one line."""
    if exc is None:
        return {}
    message = clean_text(_message(exc))[:MAX_MESSAGE]
    name = type(exc).__name__
    text = traceback or "".join(tracebacks.format_exception(exc))
    first_line = message.strip().split("\n", 1)[0][:500]
    return {
        "error": f"{name}: {first_line}" if first_line else name,
        "error_class": f"{type(exc).__module__}.{type(exc).__qualname__}",
        "message": message,
        "traceback": clean_text(_own_frames(text))[-MAX_TRACEBACK:],
    }


def _message(exc: BaseException) -> str:
    if isinstance(exc, SoftTimeLimitExceeded):
        return "the job ran longer than its soft time limit"
    if isinstance(exc, TimeLimitExceeded):
        limit = exc.args[0] if exc.args else "?"
        return f"the job ran longer than its hard time limit of {limit} s; its process was ended"
    return str(exc)


def _own_frames(traceback: str) -> str:
    """Leave out the frames of the machinery around every task, which hide the task's own."""
    kept: list[str] = []
    hidden = False
    for line in traceback.split("\n"):
        if line.startswith('  File "'):
            hidden = any(part in line for part in MACHINERY)
        elif not line.startswith("   "):
            hidden = False
        if not hidden:
            kept.append(line)
    return "\n".join(kept)


def _in_one_transaction(run: Run, finish: Callable[[states.Cursor], bool], parts: Callable[[], None] | None) -> None:
    """Finish, do Celery's parts, insert what was sent meanwhile; again from the start if Postgres went away.

    A claim that no longer holds changes nothing: neither parts nor sends happen.
    """
    drain()  # a chord reads its members' results: those of this process must be there
    already_held, already_chords = list(run.held), list(run.chords)
    pause = 0.05
    while True:
        run.held, run.chords = list(already_held), list(already_chords)
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute(LOCAL_LIMITS)
                    held = finish(cursor)
                if held:
                    if parts is not None:
                        parts()
                    workflow.insert(run.chords)
                    enter_now(_without_own_id(run))
            break
        except (OperationalError, InterfaceError) as exc:
            logger.warning("Postgres is away (%s); job %s waits to be finished", str(exc).strip()[:200], run.job_id)
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    run.finished = True
    if run.has_slot:
        admit_soon()
    if not held:
        superseded(run, "ended otherwise than by a plain success")


def superseded(run: Run, what: str) -> None:
    """Keep what a run did whose job had moved on, and count it for nothing."""
    logger.warning("Job %s had moved on; this finish of it counts for nothing", run.job_id)
    with connection.cursor() as cursor:
        keep_superseded(cursor, run.fence, what)


def _without_own_id(run: Run) -> list[Record]:
    return [record for record in run.held if record.id != run.job_id]


def find_run(job_id: str, worker: str, pid: int | None) -> tuple[Run, str | None] | None:
    """The run of a worker's lost child, and why it was asked to stop, if it was. For the main process."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT claim_id::text, task, worker, pid, attempt, uncounted, crashes, max_attempts,
                   CASE WHEN cancel_requested_at IS NOT NULL THEN reason END
            FROM jobs_job
            WHERE id = %s AND state = 'running' AND worker = %s AND (%s::int IS NULL OR pid = %s)
            """,
            [job_id, worker, pid, pid],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    *claimed, asked = row
    return run_of_row(job_id, *claimed), asked
