"""What a worker's main process knows of a job that its child can no longer tell about."""

import contextlib
import logging
from collections.abc import Iterable
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from django.db import DatabaseError, InterfaceError, connection, transaction

from jobs.ledger import cancel
from jobs.worker import memory, processes

logger = logging.getLogger(__name__)


def all_of(requests: Iterable[Any]) -> list[Any]:
    """A copy of one of Celery's weak sets of requests, for threads beside the main one, which changes them."""
    while True:
        with contextlib.suppress(RuntimeError):
            return list(requests)


class LedgerRequest(Request):
    """Names the child whose claim a lost or overlong run held, so that the backend can end that claim and no other."""

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Celery's revoke of a running task: a cancel of the ledger's, which is carried out as one."""
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                if cancel.request(cursor, self.id, "revoked through Celery", cancel.Mode.FORCED):
                    return
        except (DatabaseError, InterfaceError) as exc:
            logger.warning("The revoking of job %s cannot be stored: %s", self.id, str(exc).strip()[:200])
        super().terminate(pool, signal)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        if not soft:
            self._context.lost_pid = self.worker_pid
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        if not return_ok:
            self._context.lost_pid = self.worker_pid
            exc = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps it with its traceback
            if isinstance(exc, WorkerLostError) and memory.was_oom_killed():
                exc.args = (f"out of memory: {exc}",)
            # Before the job may run elsewhere. The pool itself would end the child alone, and later.
            processes.end_child(self.worker_pid, is_dead=isinstance(exc_info.exception, WorkerLostError))
        super().on_failure(exc_info, send_failed_event, return_ok)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        if terminated:
            self._context.lost_pid = self.worker_pid
        super()._announce_revoked(reason, terminated, signum, expired)
