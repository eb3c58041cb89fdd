"""Rows for tests that need a job in a certain state without running it."""

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobs.models import Attempt, Job, State
from jobs.models.job import FINISHED


def make_job(state: str = State.QUEUED, **fields: Any) -> Job:
    """A job of selftest.echo in the given state, with the columns that the state demands."""
    now = timezone.now()
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "task": "selftest.echo",
        "args": [1],
        "queue": "default",
        "state": state,
        "run_at": now + timedelta(hours=1) if state == State.SCHEDULED else now,
        "created_at": now,
    }
    if state == State.RUNNING:
        values |= {"claim_id": uuid.uuid4(), "attempt": 1, "worker": "w@h", "pid": 1, "started_at": now}
    if state in FINISHED:
        values |= {"finished_at": now}
    return Job.objects.create(**{**values, **fields})


def make_attempt(job: Job, number: int = 1, **fields: Any) -> Attempt:
    now = timezone.now()
    values = {"worker": "w@h", "pid": 1, "claim_id": uuid.uuid4(), "started_at": now, "finished_at": now}
    return Attempt.objects.create(**{"job": job, "number": number, "outcome": "failed", **values, **fields})
