"""Beat's scheduler: django-celery-beat's tables, each tick in one transaction with its job.

Any number of beats may run. A tick moves the schedule's `last_run_at` from the value it was computed from, in the
transaction that inserts the job; a beat that comes second finds another value there and sends nothing.
"""

import logging
import os
import socket
import time
from typing import Any

import psycopg
from celery.beat import SchedulingError
from celery.schedules import schedstate
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from jobs.ledger.connection import LedgerConnection
from jobs.worker.heartbeat import HEARTBEAT_SECONDS, leave, memory_bytes, report

logger = logging.getLogger(__name__)

NEVER_SECONDS = 1e8


class LedgerEntry(ModelEntry):
    """One schedule, with the `last_run_at` that the database showed when it was read."""

    def __init__(self, model: PeriodicTask, app: Any = None) -> None:
        self.seen_last_run_at = model.last_run_at
        super().__init__(model, app=app)

    def is_due(self) -> Any:
        """Like stock, but a one-off that has run is switched off by one column, not by saving a stale copy."""
        if self.model.one_off and self.model.enabled and self.model.total_run_count > 0:
            self._disable(self.model)
            return schedstate(False, NEVER_SECONDS)
        return super().is_due()

    def _disable(self, model: PeriodicTask) -> None:
        model.enabled = False
        PeriodicTask.objects.filter(pk=model.pk).update(enabled=False, total_run_count=0)
        PeriodicTasks.update_changed()

    def save(self) -> None:
        """The tick has written it, in the job's transaction."""

    def take_tick(self) -> bool:
        """Move the row from the run that was seen to this one. False if another beat, or an edit, was first."""
        return bool(
            PeriodicTask.objects.filter(pk=self.model.pk, enabled=True, last_run_at=self.seen_last_run_at).update(
                last_run_at=self.model.last_run_at, total_run_count=self.model.total_run_count
            )
        )


class LedgerScheduler(DatabaseScheduler):
    """Stock scheduling, with ticks that happen once and schedules that are all loaded."""

    Entry = LedgerEntry
    _reported_at = -HEARTBEAT_SECONDS
    _has_left = False

    def setup_schedule(self) -> None:
        """Install nothing: schedules are seeded once by migrations, and then belong to the operators."""

    def enabled_models_qs(self) -> QuerySet[PeriodicTask]:
        """Every enabled schedule. Stock leaves out crontabs more than two hours away, and so forgets missed ones."""
        return PeriodicTask.objects.enabled().select_related("interval", "crontab", "solar", "clocked")

    def sync(self) -> None:
        """Each tick has been written in its job's transaction, which stock's sync would close in the middle."""
        self._dirty.clear()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        close_old_connections()
        try:
            self._report()
            return float(super().tick(*args, **kwargs))
        except (OperationalError, InterfaceError) as exc:
            logger.warning("Schedules wait for Postgres: %s", str(exc).strip()[:200])
            connection.close()
            self._read_again()
            return 1.0

    def apply_entry(self, entry: LedgerEntry, producer: Any = None) -> None:
        """Send a due schedule's job, once among all beats.

        Postgres' absence is passed on; the tick is then still due.
        """
        try:
            with transaction.atomic():
                if entry.take_tick():
                    logger.info("Schedule %r is due: sending %s", entry.name, entry.task)
                    self.apply_async(entry, producer=producer, advance=False)
                else:
                    self._read_again()
        except SchedulingError as exc:
            if isinstance(exc.__cause__ or exc.__context__, OperationalError | InterfaceError):
                raise OperationalError(str(exc)) from exc
            logger.error("Schedule %r could not be sent: %s", entry.name, exc)
        except DatabaseError:
            self._read_again()
            raise

    def _read_again(self) -> None:
        """Forget what is in memory; the next tick reads every schedule afresh."""
        self._dirty.clear()
        self._schedule = None
        self._heap = None
        self._initial_read = True

    def close(self) -> None:
        """Note the leaving, once.

        On a connection of its own: Celery calls this from a signal handler, perhaps in the middle of a statement on
        Django's, which would then wait for itself.
        """
        super().close()
        if self._has_left:
            return
        self._has_left = True
        own = LedgerConnection(durable=False)
        try:
            own.use(self._leave)
        except psycopg.Error as exc:
            logger.warning("Beat's leaving could not be written: %s", str(exc).strip()[:200])
        finally:
            own.close()

    def _leave(self, own: psycopg.Connection[tuple[Any, ...]]) -> None:
        with own.cursor() as cursor:
            leave(cursor, self._node_name)

    @property
    def _node_name(self) -> str:
        return f"beat-{os.getpid()}@{socket.gethostname()}"

    def _report(self) -> None:
        """A beat shows among the workers, without queues."""
        now = time.monotonic()
        if now - self._reported_at >= HEARTBEAT_SECONDS:
            self._reported_at = now
            with connection.cursor() as cursor:
                report(cursor, name=self._node_name, queues=[], children=0, memory=memory_bytes())
