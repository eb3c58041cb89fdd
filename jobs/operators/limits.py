"""What an operator can do to limits and pauses. The admin, the API and the commands all come here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from jobs.lanes import QUEUES
from jobs.ledger.limits import is_paused, limit_text, pause_text, take_back
from jobs.ledger.publisher import admit_soon
from jobs.ledger.records import clean_text
from jobs.models import Limit, Scope
from jobs.operators.actors import Actor
from jobs.registry import UnknownTask, find_task

MOST_AT_ONCE = 100_000
MOST_RATE = 1_000_000
MOST_RATE_SECONDS = 31 * 86_400
MAX_REASON = 1_000
MAX_PAUSE = timedelta(days=366)
#: What can be set, each with the largest value; None takes a limit away.
NUMBERS = {
    "concurrency": MOST_AT_ONCE,
    "key_concurrency": MOST_AT_ONCE,
    "rate": MOST_RATE,
    "rate_seconds": MOST_RATE_SECONDS,
}
_UNITS = {"s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}


class LimitRefused(ValueError):
    """A value is out of range; the message begins with the field's name."""


class UnknownScope(LookupError):
    """There is no queue or task of that name."""


@dataclass(frozen=True)
class LimitState:
    """What holds one queue, one task or everything back, for people and programs."""

    scope: str
    name: str
    concurrency: int | None
    key_concurrency: int | None
    rate: int | None
    rate_seconds: int | None
    paused: bool
    paused_at: datetime | None
    pause_reason: str
    paused_by: str
    resume_at: datetime | None
    changed_at: datetime | None
    changed_by: str
    text: str

    @property
    def title(self) -> str:
        return f"{self.scope} {self.name}".strip()


def state_of(limit: Limit) -> LimitState:
    paused = is_paused(limit)
    return LimitState(
        scope=limit.scope,
        name=limit.name,
        concurrency=limit.concurrency,
        key_concurrency=limit.key_concurrency,
        rate=limit.rate,
        rate_seconds=limit.rate_seconds if limit.rate is not None else None,
        paused=paused,
        paused_at=limit.paused_at if paused else None,
        pause_reason=limit.pause_reason if paused else "",
        paused_by=limit.paused_by if paused else "",
        resume_at=limit.resume_at if paused else None,
        changed_at=limit.changed_at if limit.pk else None,
        changed_by=limit.changed_by,
        text="; ".join(part for part in (pause_text(limit) if paused else "", limit_text(limit)) if part),
    )


def limit_states(scope: str | None = None) -> list[LimitState]:
    """Everything, then every queue, then each task that has ever had a limit or a pause."""
    found = {(limit.scope, limit.name): limit for limit in Limit.objects.all()}
    wanted: list[tuple[str, str]] = [(Scope.EVERYTHING, "")]
    wanted += [(Scope.QUEUE, name) for name in QUEUES]
    wanted += [key for key in sorted(found) if key not in wanted]
    order = list(Scope.values)
    wanted.sort(key=lambda key: order.index(key[0]))
    rows = [state_of(found.get(key) or Limit(scope=key[0], name=key[1])) for key in wanted]
    return [row for row in rows if scope is None or row.scope == scope]


def find_limit(scope: str, name: str = "") -> LimitState:
    """The limits and the pause of one scope. Raises UnknownScope."""
    check_scope(scope, name)
    return state_of(Limit.objects.filter(scope=scope, name=name).first() or Limit(scope=scope, name=name))


def check_scope(scope: str, name: str) -> None:
    """Raises UnknownScope, naming what there is, unless it is a queue, a registered task, or everything."""
    if scope == Scope.QUEUE and name not in QUEUES:
        raise UnknownScope(f"unknown queue {name[:200]!r}; choose from: {', '.join(QUEUES)}")
    if scope == Scope.TASK:
        try:
            find_task(name)
        except UnknownTask as exc:
            # What is limited already can be let go of, also after its code is gone.
            if "\x00" in name or not Limit.objects.filter(scope=scope, name=name).exists():
                raise UnknownScope(str(exc)) from None


def pause(
    actor: Actor,
    scope: str,
    name: str = "",
    *,
    reason: str = "",
    resume_at: datetime | None = None,
    for_seconds: float | None = None,
) -> LimitState:
    """Let no job of a queue, of a task, or of everything start, until it is resumed; what runs goes on.

    for_seconds, or resume_at: when the pause ends by itself. Pausing again replaces the reason and the time.
    Raises PermissionDenied (jobs.pause_queue), UnknownScope, or LimitRefused.
    """
    actor.require("jobs.pause_queue")
    check_scope(scope, name)
    until = _resume_time(resume_at, for_seconds)
    reason = _clean_reason(reason)
    with transaction.atomic():
        limit = _locked(scope, name)
        since = limit.paused_at if is_paused(limit) else Now()
        _change(actor, limit, paused_at=since, pause_reason=reason, paused_by=actor.name[:255], resume_at=until)
        ends = limit.resume_at.isoformat() if limit.resume_at else None
        actor.record("limit.pause", limit.title, reason=reason, resume_at=ends)
    return state_of(limit)


def resume(actor: Actor, scope: str, name: str = "") -> LimitState:
    """End a pause; what waits starts within two seconds. Resuming what is not paused changes nothing.

    Raises PermissionDenied (jobs.pause_queue) or UnknownScope.
    """
    actor.require("jobs.pause_queue")
    check_scope(scope, name)
    with transaction.atomic():
        limit = _locked(scope, name)
        if limit.paused_at is not None:
            actor.record("limit.resume", limit.title, reason=limit.pause_reason)
            _change(actor, limit, paused_at=None, pause_reason="", paused_by="", resume_at=None)
        transaction.on_commit(admit_soon, robust=True)
    return state_of(limit)


def set_limits(actor: Actor, scope: str, name: str = "", changes: Mapping[str, Any] | None = None) -> LimitState:
    """Change the limits that are named (NUMBERS); None takes one away. In force with the commit.

    What runs already counts, and is not stopped; what was let through and has not begun is asked again.
    Raises PermissionDenied (jobs.manage_limits), UnknownScope, or LimitRefused.
    """
    actor.require("jobs.manage_limits")
    check_scope(scope, name)
    asked = _checked(changes or {})
    with transaction.atomic():
        limit = _locked(scope, name)
        before = {field: getattr(limit, field) for field in asked}
        if before != asked:
            _change(actor, limit, **asked)
            with connection.cursor() as cursor:
                take_back(cursor, limit.pk)
            actor.record("limit.change", limit.title, was=before, now=asked)
        transaction.on_commit(admit_soon, robust=True)
    return state_of(limit)


def _locked(scope: str, name: str) -> Limit:
    """The scope's row, made if need be, under the lock that admissions take."""
    Limit.objects.bulk_create([Limit(scope=scope, name=name, changed_at=Now(), look_at=Now())], ignore_conflicts=True)
    return Limit.objects.select_for_update().get(scope=scope, name=name)


def _change(actor: Actor, limit: Limit, **values: Any) -> None:
    Limit.objects.filter(pk=limit.pk).update(**values, changed_by=actor.name[:255], changed_at=Now())
    limit.refresh_from_db()


def _checked(changes: Mapping[str, Any]) -> dict[str, int | None]:
    unknown = [field for field in changes if field not in NUMBERS]
    if unknown:
        raise LimitRefused(f"{unknown[0][:60]} is no limit; choose from: {', '.join(NUMBERS)}")
    for field, value in changes.items():
        if value is None and field != "rate_seconds":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= NUMBERS[field]:
            advice = "; to let nothing start, pause it" if value == 0 else ""
            raise LimitRefused(
                f"{field} {str(value)[:40]!r} is not a whole number from 1 to {NUMBERS[field]:,}{advice}"
            )
    return dict(changes)


def _resume_time(resume_at: datetime | None, for_seconds: float | None) -> Any:
    """The time as given, or counted from Postgres' clock."""
    if resume_at is not None and for_seconds is not None:
        raise LimitRefused("for_seconds and resume_at say the same thing; give one of them")
    now = timezone.now()
    if for_seconds is not None:
        if not 1 <= for_seconds <= MAX_PAUSE.total_seconds():  # also refuses nan
            raise LimitRefused(f"for_seconds {for_seconds} is not from 1 to {MAX_PAUSE.total_seconds():,.0f}")
        return Now() + timedelta(seconds=for_seconds)
    if resume_at is not None and not now < resume_at <= now + MAX_PAUSE:
        raise LimitRefused(
            f"resume_at {resume_at.isoformat()} is not within the next {MAX_PAUSE.days} days "
            f"(now is {now.isoformat(timespec='seconds')})"
        )
    return resume_at


def _clean_reason(reason: str) -> str:
    text = clean_text(reason).strip()
    if len(text) > MAX_REASON:
        raise LimitRefused(f"reason has {len(text):,} characters; at most {MAX_REASON:,} are kept")
    return text


def parse_rate(text: str) -> tuple[int, int]:
    """What people type, "10/minute", "5/h" or "100/30s", as a number and seconds. Raises LimitRefused."""
    found = re.fullmatch(r"([0-9]{1,9})\s*/\s*([0-9]{0,9})\s*([a-z]+)", text.strip().lower())
    unit = _UNITS.get(found[3].removesuffix("s") or "s") if found else None
    if found is None or unit is None:
        raise LimitRefused(f"rate {text[:40]!r} is not a number in a period, such as 10/minute, 5/h or 100/30s")
    return int(found[1]), int(found[2] or 1) * unit


def parse_duration(text: str) -> int:
    """What people type, "90s", "10m", "2h" or "1 day", in seconds. Raises LimitRefused."""
    found = re.fullmatch(r"([0-9]{1,9})\s*([a-z]+)", text.strip().lower())
    unit = _UNITS.get(found[2].removesuffix("s") or "s") if found else None
    if found is None or unit is None:
        raise LimitRefused(f"duration {text[:40]!r} is not a time, such as 90s, 10m, 2h or 1d")
    return int(found[1]) * unit
