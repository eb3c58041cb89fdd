from jobs.models.access import ApiToken, IdempotencyKey
from jobs.models.audit import AuditEntry
from jobs.models.job import Attempt, Job, JobEvent, Outcome, State
from jobs.models.worker import BrokerState, Sweep, Worker

__all__ = [
    "ApiToken",
    "Attempt",
    "AuditEntry",
    "BrokerState",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "Outcome",
    "State",
    "Sweep",
    "Worker",
]
