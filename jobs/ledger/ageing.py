"""After ten minutes of waiting a job counts as the most urgent, so that a stream of more urgent ones cannot starve it.

Where messages wait in the broker by priority, it gets a second one among the most urgent; the claim drops the first.
"""

import logging

from jobs.lanes import LANES
from jobs.ledger.sweeps import Connection, Turn

logger = logging.getLogger(__name__)

AGED_SECONDS = 600.0
MOST_URGENT = 9
EVERY_SECONDS = 15.0
BATCH = 500

_IS_ANY_OLD = """
    WITH old AS (SELECT now() - make_interval(secs => %(age)s) AS before)
    SELECT EXISTS (SELECT 1 FROM jobs_job, old WHERE state = 'queued' AND NOT held AND sent_at < before)
        OR EXISTS (SELECT 1 FROM jobs_job, old
                   WHERE state = 'queued' AND NOT held AND sent_at IS NULL AND run_at < before)
        OR EXISTS (SELECT 1 FROM jobs_job, old WHERE state = 'queued' AND held AND run_at < before)
"""

# Only where something more urgent came later: with one priority alone, the oldest is first already.
_AGE = """
    WITH urgent AS (
        SELECT max(priority) AS priority FROM jobs_job
        WHERE queue = ANY(%(queues)s) AND state IN ('queued', 'running')),
    aged AS (
        SELECT j.id, j.priority FROM jobs_job AS j, urgent
        WHERE j.queue = ANY(%(queues)s) AND j.state = 'queued' AND j.priority < LEAST(urgent.priority, %(most)s)
          AND j.run_at < now() - make_interval(secs => %(age)s)
        ORDER BY j.run_at LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED),
    moved AS (
        UPDATE jobs_job AS j SET priority = %(most)s, sent_at = NULL, sends = 0
        FROM aged WHERE j.id = aged.id RETURNING j.id),
    events AS (
        INSERT INTO jobs_jobevent (job_id, at, kind, text, detail)
        SELECT id, clock_timestamp(), 'aged',
               'It has waited for ten minutes, and more urgent jobs went before it: its priority is raised from '
               || aged.priority || ' to ' || %(most)s || '.', jsonb_build_object('priority', aged.priority)
        FROM aged JOIN moved USING (id))
    SELECT count(*) FROM moved
"""


def sweep(connection: Connection, turn: Turn) -> int:
    """Raise the priority of what has waited too long behind what is more urgent. Returns how many messages are owed."""
    with connection.cursor() as cursor:
        if cursor.execute(_IS_ANY_OLD, {"age": AGED_SECONDS}).fetchone() != (True,):
            return 0
        found = 0
        for lane in LANES.values():
            values = {"queues": lane.queue_names, "age": AGED_SECONDS, "most": MOST_URGENT, "limit": BATCH}
            row = cursor.execute(_AGE, values).fetchone()
            found += row[0] if row else 0
    if found:
        logger.info("%d jobs have waited for ten minutes and are more urgent now", found)
    return found
