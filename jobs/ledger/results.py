"""What django-celery-results' table keeps of a job, written in one statement."""

from typing import Any

from jobs.ledger.states import Cursor

_UPSERT = """
    INSERT INTO django_celery_results_taskresult (
        task_id, task_name, periodic_task_name, status, worker, content_type, content_encoding, result, meta,
        date_created, date_started, date_done, traceback)
    VALUES (%(task_id)s, %(task_name)s, %(periodic_task_name)s, %(status)s, %(worker)s, %(content_type)s,
            %(content_encoding)s, %(result)s, %(meta)s, clock_timestamp(), NULL, clock_timestamp(), %(traceback)s)
    ON CONFLICT (task_id) DO UPDATE SET
        status = EXCLUDED.status, worker = COALESCE(EXCLUDED.worker, django_celery_results_taskresult.worker),
        task_name = COALESCE(EXCLUDED.task_name, django_celery_results_taskresult.task_name),
        content_type = EXCLUDED.content_type, content_encoding = EXCLUDED.content_encoding,
        result = EXCLUDED.result, meta = EXCLUDED.meta, date_done = EXCLUDED.date_done,
        traceback = EXCLUDED.traceback
    WHERE %(final)s OR django_celery_results_taskresult.status NOT IN ('SUCCESS', 'FAILURE', 'REVOKED')
"""


def store(cursor: Cursor, values: dict[str, Any], *, final: bool) -> None:
    """Insert or update one result; a state that is not final never overwrites one that is."""
    cursor.execute(_UPSERT, {**values, "final": final})


def forget(cursor: Cursor, job_id: str) -> None:
    cursor.execute("DELETE FROM django_celery_results_taskresult WHERE task_id = %s", [job_id])
