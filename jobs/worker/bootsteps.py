"""What runs inside a worker's main process beside Celery: the dispatcher and the heartbeat."""

import logging
import os
import socket
import threading
from typing import Any

import psutil
import psycopg
from celery import bootsteps, signals
from psycopg.types.json import Jsonb

from jobs.ledger.connection import AWAY, LedgerConnection
from jobs.ledger.dispatcher import Dispatcher

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0


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


class HeartbeatStep(bootsteps.StartStopStep):
    """Reports the worker to Postgres while it lives, draining included."""

    requires = {"celery.worker.components:Pool"}

    def start(self, parent: Any) -> None:
        heartbeat = Heartbeat(parent)
        heartbeat.start()
        signals.worker_shutdown.connect(heartbeat.leave, weak=False)


class Heartbeat(threading.Thread):
    """Writes one row every five seconds, in one statement."""

    def __init__(self, worker: Any) -> None:
        super().__init__(name="ledger-heartbeat", daemon=True)
        self.worker = worker
        self.connection = LedgerConnection(durable=False)
        self.gone = threading.Event()

    def run(self) -> None:
        while not self.gone.is_set():
            try:
                self.connection.use(self._beat)
            except AWAY as exc:
                logger.warning("The heartbeat waits for Postgres: %s", str(exc).strip()[:200])
            except psycopg.Error:
                logger.exception("The heartbeat could not be written")
            self.gone.wait(HEARTBEAT_SECONDS)

    def leave(self, **_: Any) -> None:
        self.gone.set()
        try:
            self.connection.use(
                lambda c: c.execute("UPDATE jobs_worker SET stopped_at = clock_timestamp() WHERE name = %s", [self.name_])
            )
        except psycopg.Error as exc:
            logger.warning("The worker's leaving could not be written: %s", str(exc).strip()[:200])

    @property
    def name_(self) -> str:
        return str(self.worker.hostname)

    def _beat(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        connection.execute(
            """
            INSERT INTO jobs_worker (name, host, pid, queues, children, memory_bytes, version, started_at,
                                     heartbeat_at, stopped_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp(), NULL)
            ON CONFLICT (name) DO UPDATE SET
                started_at = CASE WHEN jobs_worker.pid = EXCLUDED.pid AND jobs_worker.stopped_at IS NULL
                                  THEN jobs_worker.started_at ELSE clock_timestamp() END,
                host = EXCLUDED.host, pid = EXCLUDED.pid, queues = EXCLUDED.queues, children = EXCLUDED.children,
                memory_bytes = EXCLUDED.memory_bytes, version = EXCLUDED.version,
                heartbeat_at = clock_timestamp(), stopped_at = NULL
            """,
            [
                self.name_,
                socket.gethostname(),
                os.getpid(),
                Jsonb(sorted(self.worker.app.amqp.queues.consume_from)),
                self.worker.concurrency,
                memory_bytes(),
                os.environ.get("SWITCHYARD_VERSION", ""),
            ],
        )


def memory_bytes() -> int | None:
    """The proportional set size of this process and its children, which counts shared pages once; None if unknown."""
    total = 0
    try:
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            try:
                total += getattr(process.memory_full_info(), "pss", 0)
            except psutil.NoSuchProcess:
                continue
    except (psutil.AccessDenied, OSError):
        return None
    return total or None
