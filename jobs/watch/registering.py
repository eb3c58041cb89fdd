"""What the dispatchers take turns in. Imported when Django starts, so what it takes is imported when it is due."""

from typing import Any

from celery.signals import beat_init

from jobs.ledger import sweeps
from jobs.ledger.sweeps import Connection, Turn

EVERY_SECONDS = 10.0
ALERTS = "alerts"


def _alerts(connection: Connection, turn: Turn) -> int:
    from jobs.watch import alerts

    return alerts.sweep(connection, turn)


def _rollup(connection: Connection, turn: Turn) -> int:
    from jobs.watch import rollup

    return rollup.sweep(connection, turn)


sweeps.register(ALERTS, every_seconds=EVERY_SECONDS, function=_alerts)
sweeps.register("rollup", every_seconds=EVERY_SECONDS, function=_rollup)


@beat_init.connect
def _watch_from_beat(**_: Any) -> None:
    from jobs.watch.lookout import Lookout

    Lookout().start()
