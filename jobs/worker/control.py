"""Celery's remote control, with revokes that the ledger keeps."""

from collections.abc import Iterable
from typing import Any

from celery.app.control import Control
from django.db import connection, transaction

from jobs.ledger import cancel, states
from jobs.models import Job

REASON = "revoked through Celery"


class LedgerControl(Control):
    def revoke(
        self, task_id: str | Iterable[str], destination: Any = None, terminate: bool = False, **more: Any
    ) -> Any:
        """Cancel jobs. A waiting one at once; a running one is asked to stop or, with terminate, killed.

        Stored in the caller's transaction, so it holds for workers that do not hear it now. Ids that have no row are
        revoked by Celery itself, whose replies are returned.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        mode = cancel.Mode.FORCED if terminate else cancel.Mode.ASKED
        with transaction.atomic():
            known = set(Job.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk", flat=True))
            with connection.cursor() as cursor:
                for job_id in known:
                    if not states.cancel_waiting(cursor, job_id, REASON):
                        cancel.request(cursor, job_id, REASON, mode)
        foreign = [job_id for job_id in ids if job_id not in known]
        return super().revoke(foreign, destination, terminate, **more) if foreign else []
