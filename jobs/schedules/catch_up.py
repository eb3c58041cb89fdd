"""What a beat does with a schedule that it finds due: which ticks it sends or only records, and when the next is."""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django_celery_beat.models import PeriodicTask

from jobs.models import CatchUp, SchedulePolicy, TickOutcome
from jobs.schedules.due_times import NEVER, due_times, interval_of

#: Up to there a tick is on time: a beat that starts anew, or another that takes over, needs some seconds.
ON_TIME = timedelta(minutes=1)
#: The most ticks of one look back that get a row each; the ones before share a row.
MAX_RECORDED = 10_000
_MOMENT = timedelta(microseconds=1)


@dataclass
class Tick:
    """One due time and what becomes of it. ticks: how many it stands for."""

    due_at: datetime
    outcome: TickOutcome
    ticks: int = 1
    job_id: str | None = None
    detail: str = ""

    @property
    def is_to_be_sent(self) -> bool:
        return self.outcome in (TickOutcome.SENT, TickOutcome.CAUGHT_UP)


@dataclass
class Plan:
    """ticks: rising by due time. Without a next run, `ends` says to switch the schedule off."""

    ticks: list[Tick] = field(default_factory=list)
    next_run_at: datetime | None = None
    ends: bool = False
    problem: str = ""

    @property
    def sends(self) -> list[Tick]:
        return [tick for tick in self.ticks if tick.is_to_be_sent]


def look_from(policy: SchedulePolicy) -> datetime:
    """The time after which something may be owed."""
    if policy.stale or policy.next_run_at is None:
        return policy.counted_from
    return policy.next_run_at - _MOMENT


def plan(task: PeriodicTask, policy: SchedulePolicy, now: datetime, recorded: Collection[datetime] = ()) -> Plan:
    """Decide on every due time since the last look. recorded: due times that have their tick already."""
    if not task.enabled:
        return Plan()
    if task.one_off and task.total_run_count > 0:
        return Plan(ends=True)
    try:
        dues, before, following = _dues(task, look_from(policy), now)
    except NEVER as exc:
        return Plan(problem=f"{type(exc).__name__}: {exc}"[:1000])
    found = Plan(decide(task, policy, [due for due in dues if due not in recorded], now), following)
    if before and dues:
        oldest = dues[0] - _MOMENT
        found.ticks.insert(0, Tick(oldest, TickOutcome.SKIPPED, before, detail="too many to be listed each"))
    if task.one_off and dues:
        return Plan(found.ticks, ends=True)
    if task.expires is not None and (following is None or following >= task.expires):
        # Looked at once more when it expires, to be switched off.
        found.next_run_at = task.expires if task.expires > now else None
        found.ends = task.expires <= now
    elif following is None:
        found.ends = task.clocked is not None
        found.problem = "" if found.ends else "no day is like that"
    return found


def decide(task: PeriodicTask, policy: SchedulePolicy, dues: list[datetime], now: datetime) -> list[Tick]:
    """What becomes of the due times (rising) by the schedule's policy."""
    if not dues:
        return []
    grace = timedelta(seconds=policy.grace_seconds) if policy.grace_seconds is not None else None
    if grace is None and policy.catch_up == CatchUp.SKIP:
        grace = ON_TIME
    wanted = [due for due in dues if grace is None or now - due <= grace]
    most = 1 if task.one_off or policy.catch_up != CatchUp.RUN_ALL else policy.catch_up_limit
    sent = set(wanted[-most:])
    folds = bool(sent) and policy.catch_up == CatchUp.RUN_ONCE
    ticks = []
    for due in dues:
        if due in sent:
            outcome = TickOutcome.SENT if now - due <= ON_TIME else TickOutcome.CAUGHT_UP
        else:
            outcome = TickOutcome.FOLDED if folds and due in wanted else TickOutcome.SKIPPED
        ticks.append(Tick(due, outcome))
    return ticks


def _dues(task: PeriodicTask, after: datetime, now: datetime) -> tuple[list[datetime], int, datetime | None]:
    """What is due in (after, now], at most MAX_RECORDED of it; how many came before those; and the next one."""
    before = 0
    if task.interval:
        # By arithmetic: years of a short interval are not to be counted through.
        every = interval_of(task.interval)
        before = max(0, (now - max(after, task.start_time or after)) // every - MAX_RECORDED)
        after += every * before
    kept: deque[datetime] = deque(maxlen=MAX_RECORDED)
    for due in _until_expiry(task, after):
        if due > now:
            return list(kept), before, due
        before += len(kept) == MAX_RECORDED
        kept.append(due)
    return list(kept), before, None


def _until_expiry(task: PeriodicTask, after: datetime) -> Iterator[datetime]:
    for due in due_times(task, after):
        if task.expires is not None and due >= task.expires:
            return
        yield due
