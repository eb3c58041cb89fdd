"""Real worker processes on the test database."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import psycopg

from jobs.stack.parent import before_exec

_numbers = count(1)
# Guards against waiting for ever, not measures: a machine with much else to do may take that long.
READY_SECONDS = 180.0
STOP_SECONDS = 120.0


@dataclass
class LiveWorker:
    """A running worker. `pid` is its main process; its pool's children are that one's children."""

    name: str
    process: "subprocess.Popen[bytes]"
    log_path: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + timeout_seconds
        while " ready." not in self.log():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self._cry()
                raise AssertionError(f"worker {self.name} did not become ready:\n{self.log()[-5000:]}")
            time.sleep(0.05)

    def _cry(self) -> None:
        """Have it write the stacks of its threads to its log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(1)

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """Stop it warm, as in production; by force when it takes too long. Returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._cry()
            warnings.warn(f"worker {self.name} did not stop, and is killed:\n{self.log()[-8000:]}", stacklevel=2)
            return self.kill()

    def kill(self) -> int:
        """kill -9 of the main process; its children die with it."""
        self.process.kill()
        return self.process.wait()


@dataclass
class LiveWorkers:
    """Starts workers; see the fixture `live_worker`."""

    folder: Path
    started: list[LiveWorker] = field(default_factory=list)

    def __call__(
        self, *queues: str, concurrency: int = 2, pool: str = "prefork", options: Sequence[str] = (), **env: str
    ) -> LiveWorker:
        """Start a worker on these queues (default: `default`), with `env` over our environment, and wait for it."""
        queues = queues or ("default",)
        # A module's own worker may run beside those of one of its tests: two of one name are refused.
        name = f"test-{os.getpid()}-{next(_numbers)}@localhost"
        log_path = self.folder / f"worker-{len(self.started) + 1}.log"
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "-Q", ",".join(queues), "-n", name]
        command += ["-c", str(concurrency), "-P", pool, "--without-gossip", "--without-mingle", "-l", "INFO", *options]
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=Path(__file__).resolve().parents[2],
                env={**os.environ, "DATABASE_URL": database_url(), "LOG_LEVEL": "INFO", **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_exec(signal.SIGKILL),
            )
        worker = LiveWorker(name, process, log_path)
        self.started.append(worker)
        worker.wait_ready()
        return worker

    def stop(self) -> None:
        for worker in self.started:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        for worker in self.started:
            worker.stop()


def database_url() -> str:
    """The URL of the database that the tests use now, for child processes."""
    from django.conf import settings
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    if settings.DATABASE_URL:
        return urlunsplit(urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}"))
    host = urlencode({"host": settings.DATABASES["default"]["HOST"]})
    return f"postgres://{settings.DATABASES['default']['USER']}@/{name}?{host}"


def end_backends() -> int:
    """End every connection to the tests' database but our own. Returns how many."""
    from django.db import connection

    with psycopg.connect(database_url(), autocommit=True) as other:
        found = other.execute(
            """
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)
            """,
            [connection.connection.info.backend_pid],
        ).fetchone()
    return int(found[0]) if found else 0


def flush_broker() -> None:
    """Empty the broker that the tests use."""
    from celery import current_app

    from jobs.lanes import QUEUES

    with current_app.pool.acquire(block=True) as connection:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis":
            channel.client.flushdb()
        else:
            for name in QUEUES:
                channel.queue_declare(queue=name, durable=True, auto_delete=False)
                channel.queue_purge(name)
