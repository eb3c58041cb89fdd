"""What can be wrong with an installation, each with its remedy; for `manage.py doctor`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from celery import current_app
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from kombu.exceptions import OperationalError

from jobs.ledger import broker
from jobs.operators.queues import queue_states, workers
from jobs.operators.schedules import all_schedules
from jobs.schedules.next_runs import next_runs

OVERDUE_AFTER = timedelta(minutes=1)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. A warning works, but not as safely as it could."""

    part: str
    state: Literal["ok", "warning", "wrong"]
    detail: str
    remedy: str = ""


#: What other apps have looked at, in this order; each gives findings of its own parts, and never raises.
_OF_APPS: list[Callable[[], list[Finding]]] = []


def also_examine(look: Callable[[], list[Finding]]) -> None:
    """Have the doctor look at something of an app's, once Postgres answers and all migrations are applied."""
    if look not in _OF_APPS:
        _OF_APPS.append(look)


def examine() -> list[Finding]:
    """Look at everything; what needs Postgres is left out while that is away."""
    findings = [*_settings(), _postgres()]
    if findings[-1].state == "ok":
        findings.append(_migrations())
        if findings[-1].state == "ok":
            for look in (*_WITH_TABLES, *_OF_APPS):
                findings += look()
    return [*findings, *_broker()]


def _settings() -> list[Finding]:
    found = [
        Finding("settings", "wrong", str(message.msg).splitlines()[0], str(message.hint or "").split("\n")[0])
        for message in checks.run_checks()
        if message.level >= checks.ERROR
    ]
    if settings.DEBUG:
        found.append(Finding("settings", "warning", "DEBUG is on: errors show their insides", "set DEBUG=false"))
    return found or [Finding("settings", "ok", "Django's checks find no error")]


def _postgres() -> Finding:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            version = cursor.fetchone()[0]
    except (DatabaseError, InterfaceError) as exc:
        reason = str(exc).strip().splitlines()[0][:200]
        return Finding("postgres", "wrong", reason, "start it (make run starts an embedded one), or set DATABASE_URL")
    return Finding("postgres", "ok", f"version {version}")


def _migrations() -> Finding:
    executor = MigrationExecutor(connection)
    missing = [str(migration) for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    if missing:
        names = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        return Finding("migrations", "wrong", f"{len(missing)} not applied: {names}", "run: manage.py migrate")
    return Finding("migrations", "ok", "all applied")


def _lanes() -> list[Finding]:
    idle = [state for state in queue_states() if state.workers == 0]
    if not idle:
        return [Finding("workers", "ok", "every queue has a worker")]
    found = []
    for lane in dict.fromkeys(state.lane for state in idle):
        names = ", ".join(state.name for state in idle if state.lane == lane)
        found.append(Finding("workers", "wrong", f"no worker serves {names}", f"start one: manage.py worker {lane}"))
    return found


def _beat() -> list[Finding]:
    # A beat reports like a worker, without queues.
    if workers().filter(state="alive", queues=[]).exists():
        return [Finding("beat", "ok", "alive")]
    return [Finding("beat", "wrong", "no beat is alive, so no schedule runs", "start one: celery -A config beat")]


def _schedules() -> list[Finding]:
    late = timezone.now() - OVERDUE_AFTER
    overdue, never = [], []
    enabled = all_schedules().filter(enabled=True).order_by("name")
    for schedule in enabled.filter(policy__next_run_at__lt=late) | enabled.filter(policy__next_run_at=None):
        policy = schedule.policy
        # What no beat has looked at since it was edited is looked at here.
        due = next(iter(next_runs(schedule, 1, policy.counted_from)), None) if policy.stale else policy.next_run_at
        if due is None and not (schedule.one_off and schedule.total_run_count):
            never.append(schedule.name)
        elif due is not None and due < late:
            overdue.append(f"{schedule.name} (due {due:%Y-%m-%d %H:%M %Z})")
    found = []
    if overdue:
        found.append(
            Finding("schedules", "wrong", f"overdue: {_some(overdue)}", "see that a beat is alive, and read its log")
        )
    if never:
        remedy = "give it other times, or switch it off: manage.py schedules disable NAME"
        found.append(Finding("schedules", "wrong", f"enabled, but without a next run: {_some(never)}", remedy))
    return found or [Finding("schedules", "ok", "none is overdue, and each has a next run")]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


_WITH_TABLES: tuple[Callable[[], list[Finding]], ...] = (_lanes, _beat, _schedules)


#: What a Redis needs to be set to, and why.
_WANTED = {
    "maxmemory-policy": ("noeviction", "others throw waiting messages away when memory is full"),
    "appendonly": ("yes", "without it a restart empties the queues, and every message is sent again"),
}


def _broker() -> list[Finding]:
    app = current_app._get_current_object()
    found = broker.state(app)
    if found == "full":
        remedy = "give it more memory or disk; until then jobs wait in Postgres, and sends succeed"
        return [Finding("broker", "wrong", "full: it takes no messages", remedy)]
    if found != "ok":
        remedy = "start it (make run starts an embedded one), or set REDIS_URL or BROKER_URL"
        return [Finding("broker", "wrong", f"not reachable: {found}", remedy)]
    findings = [Finding("broker", "ok", "reachable")]
    try:
        settings_found = broker.redis_settings(app, list(_WANTED))
    except OperationalError as exc:
        return [Finding("broker", "wrong", f"not reachable: {str(exc)[:200]}", "see its log")]
    for name, set_to in settings_found.items():
        value, reason = _WANTED[name]
        if set_to is None:
            findings.append(Finding("broker", "warning", f"{name} cannot be read", f"see that it is {value}: {reason}"))
        elif set_to == value:
            findings.append(Finding("broker", "ok", f"{name} is {value}"))
        else:
            findings.append(Finding("broker", "wrong", f"{name} is {set_to}; {reason}", f"set it to {value}"))
    return findings
