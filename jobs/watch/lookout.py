"""The alerts' sweep in beats as well: when the last worker has died, somebody still has to say so."""

import logging
import threading

from jobs.ledger import sweeps
from jobs.ledger.connection import LedgerConnection
from jobs.watch.registering import ALERTS, EVERY_SECONDS

logger = logging.getLogger(__name__)


class Lookout(threading.Thread):
    """Takes turns with the workers' dispatchers; a look that is not due is one statement."""

    def __init__(self) -> None:
        super().__init__(name="alert-lookout", daemon=True)
        self.connection = LedgerConnection(durable=True)
        self.stopping = threading.Event()
        self.is_prepared = False

    def run(self) -> None:
        # Later than the workers, who look each second and are the first to see that it is due.
        while not self.stopping.wait(EVERY_SECONDS * 1.5):
            try:
                self.connection.use(self._look)
            except Exception as exc:
                logger.warning("Alerts wait: %s: %s", type(exc).__name__, str(exc).strip()[:200])

    def stop(self) -> None:
        self.stopping.set()

    def _look(self, connection: sweeps.Connection) -> None:
        if not self.is_prepared:
            sweeps.prepare(connection)
            self.is_prepared = True
        sweeps.run(connection, ALERTS)
