"""The task class: claims before the body runs, and tells the ledger how it ended."""

import os
import traceback as tracebacks
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import SoftTimeLimitExceeded
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore, Reject, Retry
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections

from jobs.ledger import finish
from jobs.ledger.claim import claim
from jobs.ledger.door import holder_of
from jobs.ledger.errors import Discard, JobCancelled, JobMovedOn, OutOfMemory, Snooze, TaskExited
from jobs.ledger.run import Run, set_current
from jobs.models import Outcome
from jobs.registry import NO_POLICY
from jobs.worker import processes


class LedgerTask(DjangoTask):
    """A Celery task whose every run is an attempt on the ledger.

    A direct call, `.apply()` and eager mode run in place and are not recorded.
    """

    abstract = True
    Request = "jobs.worker.request:LedgerRequest"
    Strategy = "jobs.worker.strategy:ledger_strategy"
    policy = NO_POLICY

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        if self._get_app().conf.task_always_eager and not getattr(settings, "TESTING", False):
            raise ImproperlyConfigured("task_always_eager bypasses the ledger; it is for tests alone")
        return super().apply_async(*args, **kwargs)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:
        """The result of the job, or of the one that it was just folded into."""
        holder = holder_of(task_id)
        result = super().AsyncResult(holder, **kwargs)
        result.folded = holder != task_id
        return result

    def on_replace(self, sig: Any) -> Any:
        from jobs.ledger.run import run_of

        run = run_of(self.request.id)
        if run is not None:
            # What replaces it is inserted with its finish: a run that dies in between has replaced nothing.
            run.replaced = run.body_done = True
        return super().on_replace(sig)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly or request.is_eager or getattr(request, "ledger_run", None):
            return super().__call__(*args, **kwargs)
        close_old_connections()
        claimed = claim(request.id, self.name, request.hostname, os.getpid())
        if claimed is None:
            raise Ignore("already run, or no longer wanted")
        run, edited_args, edited_kwargs, before = claimed
        request.ledger_run = run
        request.retries = run.attempt - 1 - before
        if edited_args is not None:
            args, kwargs = tuple(edited_args), edited_kwargs
            request.args, request.kwargs = list(args), kwargs
        set_current(run)
        try:
            return self._run_to_its_end(run, args, kwargs)
        except JobCancelled as cancelled:
            # Raised by the body, or by another end that found the request to stop.
            self.backend.end_cancelled(run, "cancelled while running", self.request, cancelled.how)
            raise Ignore("cancelled") from None

    def _run_to_its_end(self, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the body. What it returns or raises goes on to Celery, which reports it to the result backend."""
        try:
            return self._run_body(run, args, kwargs)
        except Retry as retry:
            self._reschedule(run, retry.exc, Outcome.FAILED if retry.exc else Outcome.RETRIED, None)
            raise
        except Ignore:
            self._end_ignored(run)
            raise
        except Reject as reject:
            if reject.requeue:
                self._reschedule(run, None, Outcome.RETRIED, 0.0)
                raise Ignore("queued again") from reject
            if isinstance(reject.reason, Exception):
                raise reject.reason from None
            raise RuntimeError(f"rejected: {reject.reason}") from reject
        except JobCancelled:
            raise
        except (JobMovedOn, Snooze, Discard) as wish:
            self._end_as_wished(run, wish)
            raise Ignore(type(wish).__name__) from None
        except MemoryError as exc:
            # Passed on, it would end the worker's main process, and the job would do so again at the next.
            self._crash(run, OutOfMemory("the task ran out of memory"), exc)
        except SystemExit as exc:
            # Negative codes are the pool's own way to end a child, at a hard time limit for example.
            if isinstance(exc.code, int) and exc.code < 0:
                raise
            self._crash(run, TaskExited(f"the task called sys.exit({exc.code!r})"), exc)
        except Exception as exc:
            self._retry_or_raise(run, exc, exc.__cause__)
        return None

    def _run_body(self, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the task's function. One that was told to stop, and ends by an error, is cancelled by it.

        What it has started does not outlive a body that was made to stop.
        """
        try:
            return self.run(*args, **kwargs)
        except Exception as exc:
            if run.told_to_stop or isinstance(exc, (JobCancelled, JobMovedOn, SoftTimeLimitExceeded)):
                processes.end_own_programs(run.began)
            if run.told_to_stop and not isinstance(exc, (Discard, Ignore, JobMovedOn)):
                raise JobCancelled(how="it was stopped by its soft limit") from exc
            raise
        finally:
            run.body_done = True

    def _end_as_wished(self, run: Run, wish: Exception) -> None:
        """End a run in one of the ways that are no error."""
        if isinstance(wish, Snooze):
            finish.snooze(run, wish.seconds, wish.why)
        elif isinstance(wish, Discard):
            self.backend.end_given_up(run, str(wish) or "the task said so", self.request)
        else:
            finish.superseded(run, "was told so")
            run.finished = True

    def _crash(self, run: Run, exc: Exception, cause: BaseException) -> None:
        """What would have ended the process counts as a crash, though the process lives."""
        exc.__cause__ = cause
        traceback = "".join(tracebacks.format_exception(cause))
        self.backend.end_crashed(run, exc, self.request, traceback)
        raise Ignore("crashed") from None

    def _retry_or_raise(self, run: Run, exc: Exception, cause: BaseException | None) -> None:
        run.forget_held()
        if not run.has_attempts_left or getattr(exc, "is_final", False):
            if cause is None:
                raise exc
            raise exc from cause
        delay = run.policy.delay_seconds(run.attempt)
        self._reschedule(run, exc, Outcome.FAILED, delay)
        raise Retry(exc=exc, when=delay) from exc

    def _reschedule(self, run: Run, exc: BaseException | None, outcome: Outcome, delay: float | None) -> None:
        info = ExceptionInfo() if exc is not None else None
        traceback = str(info.traceback) if info else None
        finish.reschedule(
            run,
            outcome=outcome,
            exc=exc,
            traceback=traceback,
            delay_seconds=delay,
            store=lambda: self._store_retry(exc, traceback),
        )

    def _store_retry(self, exc: BaseException | None, traceback: str | None) -> None:
        if exc is not None and not self.request.ignore_result:
            prepared = self.backend.prepare_exception(exc)
            self.backend._store_result(self.request.id, prepared, "RETRY", traceback, self.request)

    def _end_ignored(self, run: Run) -> None:
        if run.own is not None:
            finish.reschedule(run, outcome=Outcome.RETRIED)
        elif run.replaced:
            finish.await_replacement(run)
        else:
            columns = self.backend.result_columns(None, self.request)
            in_chord = bool(self.request.chord)
            finish.succeed(run, columns, keep=in_chord, parts=self._count_in_chord if in_chord else None)

    def _count_in_chord(self) -> None:
        self.backend.on_chord_part_return(self.request, "SUCCESS", None)
