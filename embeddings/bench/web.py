"""Web processes of the benchmark, each on a Unix socket of its own, and a client that asks them."""

import http.client
import json
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from embeddings.bench.children import ONE_THREAD
from jobs.bench.stack import BenchError, Stack

READY_SECONDS, ANSWER_SECONDS = 60.0, 30.0
THREADS = 4


@dataclass
class Web:
    """gunicorn with one worker, as it is set up in production but for the number."""

    socket: Path
    process: "subprocess.Popen[bytes]"

    def private_mb(self) -> float:
        """What its worker holds for itself alone, in MB."""
        (worker,) = psutil.Process(self.process.pid).children()
        return float(worker.memory_full_info().uss) / 1e6


class Connection(http.client.HTTPConnection):
    """One kept-alive connection to a Unix socket."""

    def __init__(self, path: Path, token: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path
        self._headers = {"Authorization": f"Bearer {token}", "Host": "localhost"}

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(str(self._path))

    def get(self, path: str, **parameters: Any) -> tuple[int, Any]:
        """Returns the status and the JSON."""
        self.request("GET", f"{path}?{urllib.parse.urlencode(parameters)}", headers=self._headers)
        response = self.getresponse()
        return response.status, json.loads(response.read())


@contextmanager
def web_processes(stack: Stack, count: int, **more: str) -> Iterator[list[Web]]:
    """So many of them, all ready, with further environment; they are gone at the end."""
    with ExitStack() as running:
        # Not beside the data: a socket's path holds 107 bytes.
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-bench-", dir="/tmp")))
        started = [running.enter_context(_web(stack, folder / f"web-{number}", **more)) for number in range(count)]
        for web in started:
            _wait_ready(stack, web)
        yield started


@contextmanager
def _web(stack: Stack, path: Path, **more: str) -> Iterator[Web]:
    command = ["-m", "gunicorn", "config.wsgi", "-b", f"unix:{path}", "-w", "1", "-k", "gthread"]
    command += ["--threads", str(THREADS), "--log-level", "warning", "--no-control-socket", "--keep-alive", "60"]
    environment = {**ONE_THREAD, "API_RATE_USER": "100000000/min", **more}
    with stack.process(command, stack.data / f"{path.name}.log", **environment) as process:
        yield Web(path, process)


def _wait_ready(stack: Stack, web: Web) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and web.process.poll() is None:
        try:
            connection = Connection(web.socket, "")
            if connection.get("/healthz")[0] == http.client.OK:
                return
        except (OSError, ValueError, http.client.HTTPException):
            pass
        time.sleep(0.2)
    said = (stack.data / f"{web.socket.name}.log").read_text(errors="replace").strip()[-2000:]
    raise BenchError(f"a web process did not start; it said:\n{said}")
