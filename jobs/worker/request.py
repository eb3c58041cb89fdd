"""What a worker's main process knows of a job that its child can no longer tell about."""

from typing import Any

from celery.worker.request import Request


class LedgerRequest(Request):
    """Names the child whose claim a lost or overlong run held, so that the backend can end that claim and no other."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        if not soft:
            self._context.lost_pid = self.worker_pid
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        if not return_ok:
            self._context.lost_pid = self.worker_pid
        super().on_failure(exc_info, send_failed_event, return_ok)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        if terminated:
            self._context.lost_pid = self.worker_pid
        super()._announce_revoked(reason, terminated, signum, expired)
