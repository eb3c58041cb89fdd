"""Prunes history in small batches, so that no statement holds locks for long."""

from typing import Any

from django.conf import settings
from django.db import connection

from jobs import job
from jobs.models import State

BATCH = 1000


def clean_up() -> dict[str, int]:
    """Empty results, prune finished jobs with their attempts, and forget idempotency keys.

    Returns how many rows of each went. A job whose workflow is still open keeps its result and its row.
    """
    days = {
        State.SUCCEEDED: settings.JOBS["KEEP_SUCCEEDED_DAYS"],
        State.FAILED: settings.JOBS["KEEP_FAILED_DAYS"],
        State.CANCELLED: settings.JOBS["KEEP_FAILED_DAYS"],
        State.DISCARDED: settings.JOBS["KEEP_SUCCEEDED_DAYS"],
    }
    counts = {"results": _in_batches("results", _RESULTS, [settings.JOBS["RESULT_HOURS"]]), "jobs": 0}
    for state, kept in days.items():
        counts["jobs"] += _in_batches(f"{state} jobs", _JOBS, [state, kept])
    counts["idempotency_keys"] = _in_batches("idempotency keys", _KEYS, [])
    counts["schedule_ticks"] = _in_batches("schedule ticks", _TICKS, [])
    counts["chords"] = _in_batches("chords", _CHORDS, [max(days.values())])
    counts["workers"] = _in_batches("workers", _WORKERS, [])
    counts["effects"] = _in_batches("effects", _EFFECTS, [settings.JOBS["KEEP_FAILED_DAYS"]])
    counts["alert_events"] = _in_batches("alert events", _ALERT_EVENTS, [settings.JOBS["KEEP_FAILED_DAYS"]])
    return counts


# A workflow is open while any job below its root is unfinished (the index job_root holds those that have a parent), and
# while a chord waits for members, or for somebody to decide about those that failed.
_OPEN = """
    (EXISTS (SELECT 1 FROM jobs_job AS o
             WHERE o.root_id = j.root_id AND o.parent_id IS NOT NULL AND o.state IN ('scheduled', 'queued', 'running'))
     OR EXISTS (SELECT 1 FROM jobs_chord AS c WHERE c.steps ? j.id AND c.state IN ('waiting', 'resting')))
"""

_RESULTS = f"""
    DELETE FROM django_celery_results_taskresult WHERE id IN (
        SELECT r.id FROM django_celery_results_taskresult AS r LEFT JOIN jobs_job AS j ON j.id = r.task_id
        WHERE r.date_done < now() - make_interval(hours => %s) AND (j.id IS NULL OR NOT {_OPEN})
        ORDER BY r.date_done LIMIT {BATCH})
"""  # noqa: S608  (constants only)

_JOBS = f"""
    WITH gone AS (
        DELETE FROM jobs_job WHERE id IN (
            SELECT id FROM jobs_job AS j
            WHERE state = %s AND finished_at < now() - make_interval(days => %s) AND NOT {_OPEN}
              AND (unique_until IS NULL OR key_released OR unique_until <= now())
            ORDER BY finished_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED)
        RETURNING id),
    attempts AS (DELETE FROM jobs_attempt WHERE job_id IN (SELECT id FROM gone)),
    results AS (DELETE FROM django_celery_results_taskresult WHERE task_id IN (SELECT id FROM gone))
    SELECT count(*) FROM gone
"""  # noqa: S608

_CHORDS = f"""
    DELETE FROM jobs_chord WHERE group_id IN (
        SELECT group_id FROM jobs_chord WHERE finished_at < now() - make_interval(days => %s) LIMIT {BATCH})
"""  # noqa: S608

_KEYS = f"""
    DELETE FROM jobs_idempotencykey WHERE id IN (
        SELECT id FROM jobs_idempotencykey WHERE created_at < now() - interval '24 hours' LIMIT {BATCH})
"""  # noqa: S608

_WORKERS = f"""
    DELETE FROM jobs_worker WHERE name IN (
        SELECT name FROM jobs_worker WHERE heartbeat_at < now() - interval '7 days' LIMIT {BATCH})
"""  # noqa: S608


# The oldest rows are those of the lowest ids; so no index is needed, and nothing is read when none is old.
_TICKS = f"""
    DELETE FROM jobs_scheduletick WHERE at < now() - interval '30 days' AND id IN (
        SELECT id FROM jobs_scheduletick ORDER BY id LIMIT {BATCH})
"""  # noqa: S608

# As long as its job could be retried, what it did must be known; what is uncertain waits for a person.
_EFFECTS = f"""
    DELETE FROM jobs_effect WHERE id IN (
        SELECT e.id FROM jobs_effect AS e
        WHERE e.created_at < now() - make_interval(days => %s) AND e.state NOT IN ('uncertain', 'tried')
          AND NOT EXISTS (SELECT 1 FROM jobs_job AS j WHERE j.id = e.job_id)
        ORDER BY e.created_at LIMIT {BATCH})
"""  # noqa: S608


_ALERT_EVENTS = f"""
    WITH old AS (
        SELECT id FROM jobs_alertevent WHERE at < now() - make_interval(days => %s) ORDER BY at LIMIT {BATCH}),
    deliveries AS (DELETE FROM jobs_alertdelivery WHERE event_id IN (SELECT id FROM old)),
    gone AS (DELETE FROM jobs_alertevent WHERE id IN (SELECT id FROM old) RETURNING id)
    SELECT count(*) FROM gone
"""  # noqa: S608


def _in_batches(what: str, statement: str, parameters: list[Any]) -> int:
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone() if cursor.description else None
            gone = row[0] if row else cursor.rowcount
        total += gone
        if gone < BATCH:
            return total
        job.progress(0.5, f"{total:,} {what} pruned")
