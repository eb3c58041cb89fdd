"""Wakes a job that snoozes, because what it waits for has happened."""

from django.db import connection

_HASTEN = """
    UPDATE jobs_job AS j SET run_at = clock_timestamp()
    WHERE j.id = %s AND j.state = 'scheduled' AND j.run_at > clock_timestamp()
      -- Only a snooze: who waits after an error, or until a time that was asked for, goes on waiting.
      AND 'snoozed' = (SELECT a.outcome FROM jobs_attempt AS a WHERE a.job_id = j.id ORDER BY a.number DESC LIMIT 1)
"""


def hasten(job_id: str) -> bool:
    """Have a snoozing job run now, once the caller's transaction commits. False, and no change, if it does not snooze.

    Where it has not begun to snooze yet, nothing is remembered: it looks again when its snooze ends.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HASTEN, [job_id])
        return cursor.rowcount == 1
