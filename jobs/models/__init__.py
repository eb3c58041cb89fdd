from jobs.models.access import ApiToken, IdempotencyKey
from jobs.models.audit import AuditEntry
from jobs.models.job import Attempt, Job, Outcome, State
from jobs.models.worker import Worker

__all__ = ["ApiToken", "Attempt", "AuditEntry", "IdempotencyKey", "Job", "Outcome", "State", "Worker"]
