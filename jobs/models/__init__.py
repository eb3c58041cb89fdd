from jobs.models.access import ApiToken, IdempotencyKey
from jobs.models.alert import (
    Alert,
    AlertDelivery,
    AlertEvent,
    AlertEventKind,
    AlertKind,
    Channel,
    DeliveryState,
    RollUp,
    RollUpMark,
)
from jobs.models.audit import AuditEntry
from jobs.models.effect import Effect, EffectState
from jobs.models.job import Attempt, Job, JobEvent, Outcome, State
from jobs.models.limit import Limit, Scope, Slot
from jobs.models.schedule import CatchUp, ScheduleDefault, SchedulePolicy, ScheduleTick, TickOutcome
from jobs.models.worker import BrokerState, Sweep, Worker
from jobs.models.workflow import Chord, ChordState

__all__ = [
    "Alert",
    "AlertDelivery",
    "AlertEvent",
    "AlertEventKind",
    "AlertKind",
    "ApiToken",
    "Attempt",
    "AuditEntry",
    "BrokerState",
    "CatchUp",
    "Channel",
    "Chord",
    "ChordState",
    "DeliveryState",
    "Effect",
    "EffectState",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "Limit",
    "Outcome",
    "RollUp",
    "RollUpMark",
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
