"""A RabbitMQ of a test's own, on loopback: its node, its files, its cookie and its port mapper are nobody else's."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from kombu.connection import Connection

from jobs.stack.parent import before_exec
from jobs.tests.stacks import free_port

#: Debian's wrapper on PATH insists on one account and one node for the whole machine.
PROGRAMS = (Path("/usr/lib/rabbitmq/bin"), Path("/usr/local/sbin"), Path("/opt/homebrew/sbin"))
START_SECONDS = 180.0
_CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 10MB
"""


def program() -> Path | None:
    """RabbitMQ's server, if it is installed with Erlang's port mapper."""
    on_path = shutil.which("rabbitmq-server")
    folders = (*PROGRAMS, *([Path(on_path).parent] if on_path else []))
    found = next((folder / "rabbitmq-server" for folder in folders if (folder / "rabbitmq-server").is_file()), None)
    return found if shutil.which("epmd") else None


class Rabbit:
    """One broker. `start` after `kill` finds what it had on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None
        self._mapper_port, self._distribution_port = free_port(), free_port()
        (folder / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=self.port))
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "home").mkdir(exist_ok=True)
        self.log_path = folder / "rabbitmq.log"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        if self._mapper is None:
            mapper = ["epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1"]
            self._mapper = self._popen(mapper)
        found = program()
        assert found is not None
        self.process = self._popen([str(found)])
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with Connection(self.url, connect_timeout=1) as connection:
                    connection.connect()
                return
            except (OSError, EOFError, *Connection("amqp://").connection_errors):
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"RabbitMQ did not start:\n{self.log_path.read_text()[-5000:]}") from None
                time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 of the broker."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """To the broker and the helpers that it has started."""
        os.killpg(self.pid, number)

    def wipe(self) -> None:
        """Forget everything, as after a lost disk; while it is not running."""
        shutil.rmtree(self.folder / "mnesia", ignore_errors=True)

    def end(self) -> None:
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()

    def _popen(self, command: list[str]) -> "subprocess.Popen[bytes]":
        own = {
            "HOME": str(self.folder / "home"),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "rabbitmq.pid"),
            # Two schedulers, which sleep when there is nothing to do, as the tests' own processes need the cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            # Run in our process, rather than behind a shell that waits for it.
            "RABBITMQ_ALLOW_INPUT": "true",
        }
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_exec(signal.SIGKILL),
            )
