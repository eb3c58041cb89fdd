"""The drill's own system, beside the installed one: servers, workers, beats, a web server, a proxy and the judge.

Everything is started from the main thread, which `keep`s it running, as a service manager would; faults run in threads
of their own and ask for what the main thread must do.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from jobs.drill.errors import DrillError
from jobs.drill.process import Process, signal_quietly
from jobs.stack.servers import DATABASE, USER, Postgres, Server, Valkey

T = TypeVar("T")

START_SECONDS = 180.0
#: Worker → the queues that it serves, and its children. `default` has two workers, the others one.
WORKERS: dict[str, tuple[str, int]] = {
    "alpha": ("default", 2),
    "beta": ("default", 2),
    "gamma": ("fast_lane,slow_lane,index_lane,deliveries", 2),
    "delta": ("embedding,indexing,maintenance", 2),
}
BEATS = ("beat-1", "beat-2")
TASK_MODULE = "jobs.drill.tasks"


class ServerUnit:
    """Postgres or Valkey: kept running while it is `wanted`. Who holds `lock` may stop it."""

    def __init__(self, server: Server, log: Path) -> None:
        self.server = server
        self.log = log
        self.wanted = False
        self.lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        process = self.server.process
        return process.pid if process is not None and process.poll() is None else None

    def keep(self) -> None:
        if self.wanted and self.pid is None:
            self.server.prepare()
            with self.log.open("ab") as log:
                self.server.start(log)

    def send(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            signal_quietly(pid, number)  # another thread may have waited for it

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        wait_for(lambda: self.pid is not None and self.server.is_ready(), f"{self.server.name} to answer", seconds)

    @contextlib.contextmanager
    def down(self, number: signal.Signals) -> Iterator[None]:
        """End it by a signal, keep it away for the block, and wait until it answers again."""
        with self.lock:
            self.wanted = False
            try:
                process = self.server.process
                self.send(number)
                if process is not None:
                    process.wait(START_SECONDS)
                yield
            finally:
                self.wanted = True
            self.wait_ready()


class System:
    """A whole installation in a temporary folder; a context manager that leaves nothing behind."""

    def __init__(self, *, keep_folder: bool = False) -> None:
        self.keep_folder = keep_folder
        self.folder = Path(tempfile.mkdtemp(prefix="switchyard-drill-"))
        self.folder.chmod(0o711)  # Postgres' own account passes through
        # Not in the data folder: a socket's path holds 107 bytes, and TMPDIR may be long.
        self.sockets = Path(tempfile.mkdtemp(prefix="switchyard-drill-", dir="/tmp"))
        self.sockets.chmod(0o711)
        self.postgres = Postgres(self.folder, self.sockets)
        self.valkey = Valkey(self.folder, self.sockets)
        self.database = ServerUnit(self.postgres, self.folder / "postgres.log")
        self.broker = ServerUnit(self.valkey, self.folder / "valkey.log")
        self.processes: dict[str, Process] = {}
        self.ports: dict[str, int] = {}
        self.token = ""
        self._asked: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        self._undo: list[Callable[[], None]] = []
        self._ordering = threading.Lock()

    # --- life ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> "System":
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _start(self) -> None:
        for unit in (self.database, self.broker):
            with unit.log.open("wb") as log:
                unit.server.run(log)
            unit.wanted = True
        self._start_far_side()
        self.token = self.inside("prepare")["token"]
        for name, (queues, children) in WORKERS.items():
            self.processes[name] = self.worker(name, queues, children)
        for name in BEATS:
            self.processes[name] = self._celery(name, "beat", "--pidfile=", "-l", "INFO")
        self.ports["web"] = free_port()
        self.processes["web"] = self._web()
        for process in self.processes.values():
            if process.popen is None:
                process.start()
        self.wait_workers()
        wait_for(lambda: self.web_answers() < START_SECONDS, "the web server to answer", START_SECONDS)

    def _start_far_side(self) -> None:
        """The judge and the proxy, which tell their ports."""
        judge = self._python("judge", "-m", "jobs.drill.judge", str(self.judge_log))
        proxy = self._python(
            "proxy",
            *("-m", "jobs.drill.proxy", f"broker={self.valkey.socket}"),
            f"database={self.postgres.socket_folder / '.s.PGSQL.5432'}",
        )
        for process in (judge, proxy):
            self.processes[process.name] = process
            process.start(talk=True)
        self.ports["judge"] = int(_first_line(judge))
        self.ports |= json.loads(_first_line(proxy))

    def close(self) -> None:
        """End everything, whatever state it is in, and remove the data."""
        for process in self.processes.values():
            process.wanted = False
            process.send(signal.SIGCONT)
        for undo in reversed(self._undo):
            with contextlib.suppress(Exception):
                undo()
        for process in self.processes.values():
            process.end()
        for unit in (self.broker, self.database):
            unit.wanted = False
            unit.send(signal.SIGCONT)
            unit.server.stop(5)
        if not self.keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def keep(self) -> None:
        """Do what a service manager does, and what faults have asked for. To be called often, from the main thread."""
        for unit in (self.database, self.broker):
            unit.keep()
        for process in list(self.processes.values()):
            process.keep()
        with contextlib.suppress(queue.Empty):
            while True:
                work, answer = self._asked.get_nowait()
                try:
                    answer.set_result(work())
                except Exception as exc:
                    answer.set_exception(exc)

    def ask(self, work: Callable[[], T]) -> T:
        """Have the main thread do something, and wait for what it returns."""
        if threading.current_thread() is threading.main_thread():
            return work()
        answer: Future[T] = Future()
        self._asked.put((work, answer))
        return answer.result(START_SECONDS)

    def on_close(self, undo: Callable[[], None]) -> None:
        """What else is to be undone at the end, such as a mounted folder."""
        self._undo.append(undo)

    # --- its processes ---------------------------------------------------------------------------------------------

    def environment(self, **more: str) -> dict[str, str]:
        """What points a process at this system, and at nothing else."""
        foreign = ("CELERY_", "DJANGO_", "GITHUB_", "REDIS_", "BROKER_", "DATABASE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        host = urllib.parse.quote(str(self.postgres.socket_folder), safe="")
        return kept | {
            "DATA": str(self.folder),
            "SWITCHYARD_ENV_FILE": "",
            "SECRET_KEY": "only-for-a-drill-" * 5,
            "DATABASE_URL": f"postgres://{USER}@/{DATABASE}?host={host}",
            "BROKER_URL": f"redis://127.0.0.1:{self.ports['broker']}/0" if "broker" in self.ports else "",
            "REDIS_URL": "",
            "TASK_MODULES": TASK_MODULE,
            "LOG_LEVEL": "INFO",
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "HTTPS": "false",
            "API_RATE_USER": "100000/min",
            "PYTHONUNBUFFERED": "1",
            **more,
        }

    def _python(self, name: str, *arguments: str, **more: str) -> Process:
        return Process(name, [sys.executable, *arguments], self.environment(**more), self.folder / f"{name}.log")

    def _celery(self, name: str, *arguments: str, **more: str) -> Process:
        return self._python(name, "-m", "celery", "-A", "config", *arguments, **more)

    def worker(self, name: str, queues: str, children: int, **more: str) -> Process:
        """A worker that is not started yet. more: over its environment."""
        options = ("-n", f"{name}@drill", "-Q", queues, "-c", str(children), "-P", "prefork", "-l", "INFO")
        return self._celery(name, "worker", *options, "--without-gossip", "--without-mingle", **more)

    def _web(self) -> Process:
        """Through the proxy, which may lose a commit's answer."""
        return self._python(
            "web",
            *("-m", "gunicorn", "-c", "deploy/gunicorn.conf.py"),
            WEB_BIND=f"127.0.0.1:{self.ports['web']}",
            WEB_CONCURRENCY="1",
            DATABASE_URL=self.proxied_database,
        )

    @property
    def proxied_database(self) -> str:
        return f"postgres://{USER}@127.0.0.1:{self.ports['database']}/{DATABASE}"

    def sender(self, number: int | str, **options: Any) -> Process:
        """A sender of load that is not started yet; see jobs.drill.load."""
        options = {
            "as": "python",
            "number": number,
            "journal": str(self.journal(number)),
            "judge": self.judge_url,
            "web": self.web_url,
            "token": self.token,
            "count": 1_000_000,
            **options,
        }
        return self._python(f"sender-{number}", "-m", "jobs.drill.load", json.dumps(options))

    def inside(self, verb: str, *, patience_seconds: float = 30.0, **parameters: Any) -> Any:
        """Do something with the settings of this system; see jobs.drill.inside. Again, if Postgres was away."""
        deadline = time.monotonic() + patience_seconds
        while True:
            code, output, said = self._run_inside(verb, json.dumps(parameters))
            if code == 0:
                return json.loads(output)
            if time.monotonic() > deadline or not any(
                away in said for away in ("OperationalError", "redis.exceptions")
            ):
                raise DrillError(f"{verb} failed inside the drill's system: {said.strip().splitlines()[-1]}")
            time.sleep(0.5)

    def _run_inside(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output, and the end of what it said."""
        process = self._python(f"inside-{arguments[0]}-{uuid.uuid4().hex[:8]}", "-m", "jobs.drill.inside", *arguments)
        self.processes[process.name] = process
        try:
            self.ask(lambda: process.start(talk=True, once=True))
            assert process.popen is not None
            output, _ = process.popen.communicate(timeout=START_SECONDS)
            return process.popen.returncode, output.decode(), process.read_log()
        finally:
            self.ask(lambda: self.processes.pop(process.name).end())

    @property
    def workers(self) -> list[Process]:
        return [self.processes[name] for name in WORKERS]

    @property
    def beats(self) -> list[Process]:
        return [self.processes[name] for name in BEATS]

    def wait_workers(self, seconds: float = START_SECONDS) -> None:
        """Wait until every worker has reported itself within the last seconds."""

        def alive() -> bool:
            with self.connect() as connection:
                found = connection.execute(
                    "SELECT count(*) FROM jobs_worker WHERE stopped_at IS NULL AND children > 0 "
                    "AND heartbeat_at > clock_timestamp() - interval '7 s'"
                ).fetchone()
            return found is not None and found[0] >= len(WORKERS)

        wait_for(alive, "the workers to report themselves", seconds, meanwhile=self._keep_if_main)

    def _keep_if_main(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.keep()

    # --- talking to its parts --------------------------------------------------------------------------------------

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """To its Postgres, past the proxy."""
        return psycopg.connect(
            host=str(self.postgres.socket_folder), user=USER, dbname=DATABASE, autocommit=True, connect_timeout=5
        )

    def order_proxy(self, order: str) -> None:
        """Have it followed; see jobs.drill.proxy."""
        proxy = self.processes["proxy"].popen
        assert proxy is not None
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        with self._ordering:  # faults overlap, and each waits for the answer to its own order
            proxy.stdin.write(f"{order}\n".encode())
            proxy.stdin.flush()
            proxy.stdout.readline()

    def delay_judge(self, before: float = 0.0, after: float = 0.0) -> None:
        """Have the far side take so many seconds for each effect, before or after it counts."""
        body = json.dumps({"before": before, "after": after}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.ports['judge']}/delay", body, timeout=10).close()

    def journal(self, number: int | str) -> Path:
        """What a sender has written down."""
        return self.folder / f"journal-{number}.jsonl"

    @property
    def judge_log(self) -> Path:
        return self.folder / "judge.jsonl"

    @property
    def judge_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['judge']}/effect"

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['web']}" if "web" in self.ports else ""

    def web_answers(self) -> float:
        """How many seconds the web server takes to say that it lives; infinite if it does not."""
        began = time.monotonic()
        try:
            with urllib.request.urlopen(f"{self.web_url}/healthz", timeout=10) as response:  # noqa: S310
                return time.monotonic() - began if response.status == 200 else float("inf")
        except OSError:
            return float("inf")


def wait_for(
    condition: Callable[[], bool], what: str, seconds: float, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Wait until a condition holds; Postgres' absence counts as not yet. Raises DrillError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(psycopg.OperationalError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise DrillError(f"waited {seconds:.0f} s for {what}")
        meanwhile()
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_line(process: Process) -> str:
    assert process.popen is not None
    assert process.popen.stdout is not None
    line = process.popen.stdout.readline().decode()
    if not line:
        raise DrillError(f"{process.name} did not start:\n{process.read_log()}")
    return line
