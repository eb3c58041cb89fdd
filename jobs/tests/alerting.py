"""Alerts for tests: made, looked at as a dispatcher does, and moved into the past."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from jobs.ledger import sweeps
from jobs.ledger.connection import LedgerConnection
from jobs.models import Alert
from jobs.watch import delivering, registering


@contextmanager
def looking() -> Iterator[Callable[[], None]]:
    """One turn of the sweep, as a dispatcher takes it; then what it has owed is sent, in this thread."""
    own = LedgerConnection(durable=True)
    own.use(sweeps.prepare)

    def turn() -> None:
        own.use(lambda open_connection: open_connection.execute("UPDATE jobs_sweep SET due_at = now()"))
        own.use(lambda open_connection: sweeps.run(open_connection, registering.ALERTS))
        delivering.deliver_due()

    yield turn
    own.close()


def make_alert(**fields: Any) -> Alert:
    values = {"name": "Failures", "kind": "failed", "threshold": 3, "cooldown_seconds": 0, **fields}
    return Alert.objects.create(**values)


def kinds(alert: Alert) -> list[str]:
    return list(alert.events.order_by("pk").values_list("kind", flat=True))


def age(model: Any, **changes: timedelta) -> None:
    """Move times of all rows into the past."""
    for row in model.objects.all():
        model.objects.filter(pk=row.pk).update(**{name: getattr(row, name) - by for name, by in changes.items()})
