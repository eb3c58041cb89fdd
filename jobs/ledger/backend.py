"""Celery's result backend: django-celery-results' tables, written by the ledger's finish."""

import copy
import json
import logging
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import states as celery_states
from celery.exceptions import NotRegistered, TaskRevokedError
from celery.result import GroupResult
from django.db import InterfaceError, OperationalError, connection, transaction
from django_celery_results.backends.database import DatabaseBackend

from jobs.ledger import finish, results, states, workflow
from jobs.ledger.canvas import with_ids
from jobs.ledger.errors import JobCancelled
from jobs.ledger.records import clean_json, clean_text
from jobs.ledger.run import Run, run_of
from jobs.models import Job, Outcome, State
from jobs.models.job import FINISHED

logger = logging.getLogger(__name__)

# What Celery calls a ledger state, for a job that has no result row.
_CELERY_STATE = {
    State.SCHEDULED: celery_states.PENDING,
    State.QUEUED: celery_states.PENDING,
    State.RUNNING: celery_states.STARTED,
    State.SUCCEEDED: celery_states.SUCCESS,
    State.FAILED: celery_states.FAILURE,
    State.CANCELLED: celery_states.REVOKED,
    State.DISCARDED: celery_states.REVOKED,
}


#: How long a job of an unknown task waits at most before another worker is tried.
MAX_PARKED_SECONDS = 30.0


class LedgerBackend(DatabaseBackend):
    """Stock results, except that the state of a job changes in the same statement or transaction."""

    # `jobs.clean_up` empties results; Celery's own daily task is not needed.
    supports_autoexpire = True

    def result_columns(self, result: Any, request: Any) -> dict[str, Any]:
        """Encode a result. Raises EncodeError if it is not JSON."""
        content_type, content_encoding, encoded = self.encode_content(result)
        if "\\ud" in encoded:
            # Half of a surrogate pair, as in a file name that is not UTF-8: whoever reads it could not send it on.
            encoded = json.dumps(clean_json(json.loads(encoded)))
        children = self.current_task_children(request) or []
        _, _, meta = self.encode_content({**self._get_meta_from_request(request), "children": children})
        return {
            "content_type": content_type,
            "content_encoding": content_encoding,
            "result": encoded,
            "meta": meta,
            "periodic_task_name": getattr(request, "periodic_task_name", None),
        }

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = celery_states.SUCCESS,
    ) -> None:
        run = run_of(task_id)
        if run is None:
            return
        keep = store_result and not request.ignore_result
        columns = self.result_columns(result, request)
        parts = (lambda: self.on_chord_part_return(request, state, result)) if request.chord else None
        try:
            finish.succeed(run, columns, keep=keep or bool(request.chord), parts=parts)
        except JobCancelled as cancelled:
            self.end_cancelled(run, "cancelled while running", request, cancelled.how)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = celery_states.FAILURE,
    ) -> None:
        """End a run by an error that is not tried again.

        Called by a child for its own run; by a worker's main process for a run whose child was lost or ran too
        long, which the claim's worker and process id tell; and for ids that have no row (a chord's body that will
        not run), whose result alone is stored.
        """
        stock = super().mark_as_failure
        run, asked = run_of(task_id), None
        if run is None:
            try:
                run, asked = self._run_of_lost_child(task_id, request)
            except (OperationalError, InterfaceError) as away:
                _leave_to_others(task_id, away)
                return
        if run is None:
            if isinstance(exc, NotRegistered):
                self._park_unknown(task_id, exc)
            elif not Job.objects.filter(pk=task_id).exists():
                stock(task_id, exc, traceback, request, store_result, call_errbacks, state)
            return
        if asked is not None:
            self.end_cancelled(run, asked, request, finish.how_ended(exc))
            return
        try:
            if isinstance(exc, WorkerLostError):
                self.end_crashed(run, exc, request, traceback)
            elif getattr(request, "lost_pid", None) and run.has_attempts_left:
                delay = run.policy.delay_seconds(run.attempt)
                finish.reschedule(run, outcome=Outcome.FAILED, exc=exc, traceback=traceback, delay_seconds=delay)
            else:
                self._fail(run, exc, traceback, request, store_result, call_errbacks)
        except JobCancelled as cancelled:
            self.end_cancelled(run, "cancelled while running", request, cancelled.how)

    def _fail(
        self,
        run: Run,
        exc: BaseException,
        traceback: str | None,
        request: Any,
        store_result: bool = True,
        call_errbacks: bool = True,
        *,
        is_crash: bool = False,
    ) -> None:
        """running → failed, with result, chord part and errbacks in the same transaction."""
        stock = super().mark_as_failure
        state = celery_states.FAILURE
        keep = store_result or bool(request.chord)
        run.body_done = True
        run.forget_held()
        request.errbacks = with_ids(request.errbacks or [], run.job_id, "errbacks", run.number)

        def parts() -> None:
            stock(run.job_id, exc, traceback, request, False, call_errbacks, state)
            workflow.stopped(run.job_id)

        finish.fail(
            run,
            exc,
            traceback,
            store=lambda: self._store_if(keep, run.job_id, exc, state, traceback, request),
            parts=parts,
            is_crash=is_crash,
        )

    def end_crashed(self, run: Run, exc: BaseException, request: Any, traceback: str | None = None) -> None:
        """The run took its process with it: running → queued, or failed after as many as its policy allows."""
        if run.may_crash_again:
            finish.crash(run, exc, traceback)
        else:
            self._fail(run, exc, traceback, request, not request.ignore_result, is_crash=True)

    def end_given_up(self, run: Run, reason: str, request: Any) -> None:
        """running → discarded, because the task raised Discard; with result and chord part."""
        exc = TaskRevokedError(f"discarded: {reason}")
        run.body_done = True

        finish.give_up(
            run,
            reason,
            store=lambda: self._store_result(run.job_id, self.prepare_exception(exc), "REVOKED", None, request),
            parts=lambda: workflow.stopped(run.job_id),
        )

    def mark_as_retry(
        self, task_id: str, exc: Any, traceback: Any = None, request: Any = None, *rest: Any, **more: Any
    ) -> None:
        """The finish has stored it: the task class knows of every retry, this method only of those with results."""

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = celery_states.REVOKED,
    ) -> None:
        """Cancel on Celery's own `revoke`: a waiting job at once, a running one whose child was ended by it."""
        with connection.cursor() as cursor:
            cancelled = states.cancel_waiting(cursor, task_id, f"revoked through Celery: {reason or 'no reason given'}")
        if cancelled:
            workflow.stopped(task_id)
        run, asked = (None, None) if cancelled else self._run_of_lost_child(task_id, request)
        if run is not None:
            self.end_cancelled(run, asked or f"{reason or 'revoked'} through Celery", request, "its process was ended")

    def end_cancelled(self, run: Run, reason: str, request: Any, how: str) -> None:
        """running → cancelled, with result and chord part. how: what made it stop."""
        how = getattr(request, "stopped_how", None) or how  # if it was this worker that killed its process
        exc = TaskRevokedError(reason)
        run.body_done = True

        finish.stop(
            run,
            reason,
            how,
            store=lambda: self._store_result(run.job_id, self.prepare_exception(exc), "REVOKED", None, request),
            parts=lambda: workflow.stopped(run.job_id),
        )

    def _run_of_lost_child(self, task_id: str, request: Any) -> tuple[Run | None, str | None]:
        """The run that a child of this worker lost, and why it had been asked to stop, if it had."""
        pid = getattr(request, "lost_pid", None)
        found = finish.find_run(task_id, request.hostname, pid) if pid else None
        return found or (None, None)

    def _park_unknown(self, task_id: str, exc: NotRegistered) -> None:
        """This worker is older, or newer, than the sender: the job waits for one that knows its task."""
        text = f"A worker that was sent it does not know the task {exc}; it waits for one that does."
        try:
            with connection.cursor() as cursor:
                states.park(cursor, task_id, text, most_seconds=MAX_PARKED_SECONDS)
        except (OperationalError, InterfaceError) as away:
            _leave_to_others(task_id, away)

    def _store_if(
        self, wanted: bool, task_id: str, exc: BaseException, state: str, traceback: Any, request: Any
    ) -> None:
        if wanted:
            self._store_result(task_id, self.prepare_exception(exc), state, traceback, request)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        status: str,
        traceback: str | None = None,
        request: Any = None,
        using: Any = None,
    ) -> Any:
        columns = self.result_columns(result, request)
        with connection.cursor() as cursor:
            results.store(
                cursor,
                {
                    **columns,
                    "task_id": task_id,
                    "task_name": getattr(request, "task", None),
                    "status": status,
                    "worker": (getattr(request, "hostname", None) or "")[:100] or None,
                    "traceback": clean_text(traceback) if traceback else None,
                },
                final=status in celery_states.READY_STATES,
            )
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        """The stored result; without one (still to come, not kept, or emptied since) the ledger's state tells."""
        meta: dict[str, Any] = super()._get_task_meta_for(task_id)
        if meta.get("status") != celery_states.PENDING:
            return meta
        state = Job.objects.filter(pk=task_id).values_list("state", flat=True).first()
        if state is None:
            return meta
        if state in FINISHED:
            # It may have finished, and stored its result, between the two statements.
            meta = super()._get_task_meta_for(task_id)
        if meta.get("status") == celery_states.PENDING:
            meta["status"] = _CELERY_STATE[State(state)]
            if meta["status"] in celery_states.EXCEPTION_STATES:
                # Whoever waits gets an exception, which Celery cannot raise from nothing.
                meta["result"] = TaskRevokedError(f"the job is {state} and has no result")
        return meta

    def apply_chord(self, header_result_args: Any, body: Any, **_: Any) -> None:
        """Write a chord down; it is joined by its members' rows, without django-celery-results' counter."""
        results = header_result_args
        workflow.begin(results if isinstance(results, GroupResult) else self.app.GroupResult(*results), body)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """Count a member that succeeded. One that did not holds the chord up: `workflow.stopped` has been told."""
        if state == celery_states.SUCCESS and request.id and request.group:
            workflow.member_ended(request.id, request.group, request.chord)

    def _call_task_errbacks(self, request: Any, exc: BaseException, traceback: Any) -> None:
        """Call errbacks one by one.

        One that takes more than the id runs here, inside the finish; what it does wrong in Postgres is its own.
        """
        for errback in request.errbacks or []:
            alone = copy.copy(request)
            alone.errbacks = [errback]
            try:
                with transaction.atomic():
                    super()._call_task_errbacks(alone, exc, traceback)
            except Exception:
                if not connection.is_usable():
                    raise
                logger.exception("The errback %s of job %s cannot be called", errback.get("task"), request.id)


def _leave_to_others(job_id: str, away: Exception) -> None:
    """Postgres is away, and an error here would end the worker: the job is rescued, or sent again, when it is back."""
    logger.warning("What became of job %s is left to the rescue: %s", job_id, str(away).strip()[:200])
    connection.close()
