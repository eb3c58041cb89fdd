from jobs.models.access import ApiToken, IdempotencyKey
from jobs.models.audit import AuditEntry
from jobs.models.effect import Effect, EffectState
from jobs.models.job import Attempt, Job, JobEvent, Outcome, State
from jobs.models.limit import Limit, Scope, Slot
from jobs.models.schedule import CatchUp, ScheduleDefault, SchedulePolicy, ScheduleTick, TickOutcome
from jobs.models.worker import BrokerState, Sweep, Worker
from jobs.models.workflow import Chord, ChordState

__all__ = [
    "ApiToken",
    "Attempt",
    "AuditEntry",
    "BrokerState",
    "CatchUp",
    "Chord",
    "ChordState",
    "Effect",
    "EffectState",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "Limit",
    "Outcome",
    "ScheduleDefault",
    "SchedulePolicy",
    "ScheduleTick",
    "Scope",
    "Slot",
    "State",
    "Sweep",
    "TickOutcome",
    "Worker",
]
