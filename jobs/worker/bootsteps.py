"""What runs inside a worker's main process beside Celery: the dispatcher and the heartbeat."""

import contextlib
import logging
import threading
from typing import Any

import psycopg
from billiard import pool as billiard_pool
from celery import bootsteps, signals
from celery.worker import state as worker_state
from django.core.exceptions import ImproperlyConfigured

from jobs.ledger import lease, states
from jobs.ledger.connection import AWAY, LedgerConnection
from jobs.ledger.dispatcher import Dispatcher
from jobs.ledger.lease import HEARTBEAT_SECONDS
from jobs.worker import forgotten, memory
from jobs.worker.draining import Drain
from jobs.worker.heartbeat import begin, fetched_before, leave, memory_bytes, namesake, report
from jobs.worker.request import all_of

logger = logging.getLogger(__name__)

RECYCLING_SECONDS = 0.5
MAX_LISTED = 1000
#: After a heartbeat that could not be written.
AGAIN_SECONDS = 1.0
MEMORY_EVERY_SECONDS = 60.0


class DispatcherStep(bootsteps.StartStopStep):
    """Runs a dispatcher thread. It stops when the worker begins to drain: others go on dispatching."""

    requires = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.dispatcher: Dispatcher | None = None

    def start(self, parent: Any) -> None:
        self.dispatcher = Dispatcher()
        self.dispatcher.start()

    def stop(self, parent: Any) -> None:
        if self.dispatcher is not None:
            self.dispatcher.stop()

    terminate = stop


class DrainStep(bootsteps.StartStopStep):
    """When the worker begins to stop, gives its running jobs a set time, and what is left then to other workers."""

    requires = {"celery.worker.components:Pool"}

    def start(self, parent: Any) -> None:
        self.drain = Drain(parent)

    def stop(self, parent: Any) -> None:
        self.drain.begin()

    terminate = stop


class RecyclingStep(bootsteps.StartStopStep):
    """Replaces a recycled child within half a second.

    Celery looks every five, and a job may be waiting for just that child.
    """

    requires = {"celery.worker.components:Pool", "celery.worker.components:Hub"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        # An ending child waits for the main process to read its last results, in steps of a second and for up to
        # thirty, which a main process that is stopping itself may never do. Ours are in Postgres already.
        billiard_pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL = 0.05
        billiard_pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 40

    def register_with_event_loop(self, parent: Any, hub: Any) -> None:
        maintain = getattr(getattr(parent.pool, "_pool", None), "maintain_pool", None)
        if maintain is not None:
            hub.call_repeatedly(RECYCLING_SECONDS, maintain)


class HeartbeatStep(bootsteps.StartStopStep):
    """Reports the worker to Postgres while it lives, draining included."""

    requires = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        begin()  # before the pool forks its children, whose first jobs are then younger than their worker
        lease.begin()  # before the pool forks its children, which share it
        memory.begin()

    def start(self, parent: Any) -> None:
        _refuse_namesake(str(parent.hostname))
        heartbeat = Heartbeat(parent)
        heartbeat.beat()  # before the first message is fetched: its job needs a lease
        heartbeat.start()
        signals.worker_shutdown.connect(heartbeat.leave, weak=False)


def _refuse_namesake(name: str) -> None:
    """Raise ImproperlyConfigured if another worker of this name lives here: each would take the other's jobs."""
    own = LedgerConnection(durable=False)
    try:
        pid = own.use(lambda connection: namesake(connection.cursor(), name, lease.LEASE_SECONDS))
    except psycopg.Error:
        return  # Postgres is away, or not yet migrated
    finally:
        own.close()
    if pid is not None:
        raise ImproperlyConfigured(
            f"a worker named {name} runs here already (process {pid}); give this one another name: -n other@%h"
        )


class Heartbeat(threading.Thread):
    """Writes one row every three seconds, in one statement."""

    def __init__(self, worker: Any) -> None:
        super().__init__(name="ledger-heartbeat", daemon=True)
        self.worker = worker
        self.connection = LedgerConnection(durable=False)
        self.gone = threading.Event()
        self.beats = 0
        self.memory: int | None = None
        self.memory_due_at = 0.0

    def run(self) -> None:
        while not self.gone.is_set():
            began = lease.clock()
            pause = HEARTBEAT_SECONDS if self.beat() else min(AGAIN_SECONDS, HEARTBEAT_SECONDS)
            # Walks /proc, which may take long.
            if lease.clock() >= self.memory_due_at:
                self.memory_due_at = lease.clock() + MEMORY_EVERY_SECONDS
                self.memory = memory_bytes()
            self.gone.wait(max(0.0, pause - (lease.clock() - began)))

    def beat(self) -> bool:
        """Write the row once, if Postgres is there. Returns whether it was written."""
        try:
            self.connection.use(self._beat)
        except AWAY as exc:
            logger.warning("The heartbeat waits for Postgres: %s", str(exc).strip()[:200])
            return False
        except Exception:  # whatever it is: without this thread, the worker would pass for dead
            logger.exception("The heartbeat could not be written")
            return False
        return True

    def leave(self, **_: Any) -> None:
        self.gone.set()
        try:
            self.connection.use(self._leave)
        except psycopg.Error as exc:
            logger.warning("The worker's leaving could not be written: %s", str(exc).strip()[:200])

    def _beat(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        name = str(self.worker.hostname)
        since = lease.clock()
        # A copy of each set: the worker's main thread changes them meanwhile.
        active = {request.id for request in all_of(worker_state.active_requests)}
        reserved = {request.id for request in all_of(worker_state.reserved_requests)}
        with connection.cursor() as cursor:
            if self.beats == 0 and (lost := fetched_before(cursor, name)):
                # Rows that somebody holds are no reason not to report; the sweep of lost messages finds them.
                with contextlib.suppress(psycopg.errors.LockNotAvailable):
                    states.owe_again(cursor, lost, "the worker that had fetched it died")
            report(
                cursor,
                name=name,
                queues=sorted(self.worker.app.amqp.queues.consume_from),
                children=self.worker.concurrency,
                memory=self.memory,
                running=active | forgotten.still_run(cursor, name, forgotten.children_of(self.worker)),
                fetched=list(reserved - active)[:MAX_LISTED],
            )
        self.beats += 1
        lease.renew(since)

    def _leave(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        with connection.cursor() as cursor:
            leave(cursor, str(self.worker.hostname))
