"""`manage.py up` as a real process on a data folder of its own."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from jobs.stack.parent import before_exec

PROJECT = Path(__file__).resolve().parents[2]
# Guards against waiting for ever, not measures: a machine with much else to do may take that long.
START_SECONDS = 180.0
STOP_SECONDS = 120.0


class RunningStack:
    """One `manage.py up`. Its output is collected in a file beside the data folder."""

    def __init__(self, data: Path, *, project: Path = PROJECT, python: str = sys.executable, **env: str) -> None:
        self.data = data
        self.port = free_port()
        self.log_path = data.parent / f"{data.name}-{self.port}.log"
        self.seen: set[psutil.Process] = set()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [python, str(project / "manage.py"), "up"],
                cwd=project,
                env=environment(data, PORT=str(self.port), **env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_exec(signal.SIGTERM),
            )

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not happen within {seconds:.0f} s:\n{self.log()}")
            time.sleep(0.05)

    def wait_for_line(self, text: str) -> None:
        self.wait_for(lambda: text in self.log(), repr(text))

    def wait_ready(self) -> None:
        self.wait_for(lambda: "ready: http" in self.log() or self.process.poll() is not None, "start")
        assert self.process.poll() is None, self.log()
        self.note_processes()

    def note_processes(self) -> None:
        """Remember what runs now, to find it again when it should be gone."""
        self.seen.update(self.children())

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def own(self, name: str) -> list[psutil.Process]:
        """The processes with that in their name that it started itself."""
        found = []
        for child in self.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # Postgres' sessions, for example, come and go
                if name in child.name() and child.ppid() == self.process.pid:
                    found.append(child)
        return found

    def child(self, name: str) -> psutil.Process:
        """The embedded server of that name."""
        return self.own(name)[0]

    def listening(self) -> list[str]:
        """The addresses at which its processes listen."""
        found = []
        for child in self.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [each.laddr.ip for each in child.net_connections() if each.status == psutil.CONN_LISTEN]
        return found

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    def readiness(self) -> tuple[int, dict[str, str]]:
        status, body = self.get("/readyz")
        return status, json.loads(body)["parts"]

    def run(self, *arguments: str) -> str:
        """Run a manage.py command against the stack."""
        command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
        return subprocess.run(
            command, cwd=PROJECT, env=environment(self.data), capture_output=True, text=True, check=True
        ).stdout

    def send(self, number: signal.Signals) -> None:
        self.note_processes()
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        return self.process.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    def leftovers(self) -> list[str]:
        """What still runs of all that was seen, and any process that works in the data folder."""
        left = {process for process in self.seen if _is_alive(process)}
        return [str(process) for process in left | {each for each in working_in(self.data) if _is_alive(each)}]

    def end(self) -> None:
        """Leave nothing, whatever the test did."""
        self.process.kill()
        for process in self.seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def working_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if folder in Path(process.cwd()).parents:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def environment(data: Path, **more: str) -> dict[str, str]:
    elsewhere = {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "PORT"}
    own = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return {**own, "DATA": str(data), "SWITCHYARD_ENV_FILE": "", "PYTHONUNBUFFERED": "1", **more}


def free_port() -> int:
    """One below those that the kernel gives away, to any client, before the server has taken it."""
    for port in random.sample(range(12_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
