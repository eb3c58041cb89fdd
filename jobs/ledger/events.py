"""What happened to a job beside its runs, as its page tells it."""

import json
from typing import Any

from jobs.ledger.states.machine import Cursor


def note(cursor: Cursor, job_id: str, kind: str, text: str, **detail: Any) -> None:
    """Add one event, at Postgres' time. detail: JSON, without secrets."""
    cursor.execute(
        "INSERT INTO jobs_jobevent (job_id, at, kind, text, detail) VALUES (%s, clock_timestamp(), %s, %s, %s::jsonb)",
        [job_id, kind, text, json.dumps(detail)],
    )
