"""Servers of a benchmark's own, on a temporary folder, as durable as in production."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis
from django.conf import settings

from jobs.stack.parent import before_exec
from jobs.stack.servers import USER, Postgres, Valkey

STOCK_DATABASE = "stock"
STOP_SECONDS = 30.0


class BenchError(Exception):
    """A process that the benchmark needs did not do its part."""


@dataclass
class Stack:
    """Running servers. `environment` points every child at them, and at nothing else."""

    data: Path
    postgres: Postgres
    valkey: Valkey

    @property
    def environment(self) -> dict[str, str]:
        host = urllib.parse.quote(str(self.postgres.socket_folder), safe="")
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("CELERY_", "DJANGO_", "RESULT_"))
        }
        return kept | {
            "DATA": str(self.data),
            "SWITCHYARD_ENV_FILE": "",
            "SECRET_KEY": "only-for-a-benchmark-" * 4,
            "DATABASE_URL": f"postgres://{USER}@/switchyard?host={host}",
            "REDIS_URL": "",
            "BROKER_URL": self.broker_url(0),
            "BENCH_STOCK_DATABASE": f"{self.postgres.socket_folder}",
            "LOG_LEVEL": "WARNING",
        }

    def connect(self, database: str = "switchyard") -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(host=str(self.postgres.socket_folder), user=USER, dbname=database, autocommit=True)

    def broker_url(self, number: int) -> str:
        return f"redis+socket://{self.valkey.socket}?virtual_host={number}"

    def broker(self, number: int) -> "redis.Redis":
        return redis.Redis(unix_socket_path=str(self.valkey.socket), db=number)

    @property
    def postgres_pid(self) -> int:
        return _pid(self.postgres.process)

    @property
    def valkey_pid(self) -> int:
        return _pid(self.valkey.process)

    def run(self, arguments: list[str], **more: str) -> str:
        """Run Python with these arguments to its end. Returns what it printed; raises BenchError if it failed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=settings.BASE_DIR,
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=before_exec(signal.SIGKILL),
        )
        if done.returncode != 0:
            raise BenchError(f"python {' '.join(arguments)} failed:\n{done.stderr.strip()[-2000:]}")
        return done.stdout

    def popen(self, arguments: Sequence[str], log: Path, **more: str) -> "subprocess.Popen[bytes]":
        """Start Python with these arguments; it ends with this process."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=settings.BASE_DIR,
                env=self.environment | more,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_exec(signal.SIGTERM),
            )

    @contextmanager
    def process(self, arguments: Sequence[str], log: Path, **more: str) -> Iterator["subprocess.Popen[bytes]"]:
        """`popen`, for a block: at its end it is stopped as an operator would. With a BenchError comes what it said."""
        started = self.popen(arguments, log, **more)
        try:
            yield started
        except BenchError as exc:
            said = log.read_text(errors="replace").strip()[-3000:]
            state = "running" if started.poll() is None else f"ended with {started.returncode}"
            raise BenchError(f"{exc}; python {' '.join(arguments)}, {state}, said:\n{said}") from exc
        finally:
            stop(started)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to stop, and kill it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def own_stack() -> Iterator[Stack]:
    """Postgres and Valkey with a migrated database and one for stock Celery; all of it is gone at the end."""
    data = Path(tempfile.mkdtemp(prefix="switchyard-bench-"))
    data.chmod(0o711)  # Postgres' own account passes through
    # Not beside the data: a socket's path holds 107 bytes, and TMPDIR may be long.
    sockets = Path(tempfile.mkdtemp(prefix="switchyard-bench-", dir="/tmp"))
    sockets.chmod(0o711)
    stack = Stack(data, Postgres(data, sockets), Valkey(data, sockets))
    # So that one who ends the benchmark has no folders to remove.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with (data / "servers.log").open("wb") as log:
            stack.postgres.run(log)
            stack.valkey.run(log)
        with stack.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {STOCK_DATABASE}")
        stack.run(["manage.py", "migrate", "-v", "0"])
        stack.run(["-m", "django", "migrate", "-v", "0"], DJANGO_SETTINGS_MODULE="jobs.bench.stock_settings")
        yield stack
    finally:
        stack.valkey.stop()
        stack.postgres.stop()
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(sockets, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _pid(process: "subprocess.Popen[bytes] | None") -> int:
    if process is None:
        raise BenchError("a server of the benchmark is not running")
    return process.pid
