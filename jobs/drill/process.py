"""The drill's own processes: started from its main thread, kept running, and ended with it."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from django.conf import settings

from jobs.stack.parent import before_exec

#: What a service manager would wait before it starts a process again.
RESTART_SECONDS = 0.3


@dataclass
class Process:
    """One process. While `wanted`, `keep` starts it again when it has ended."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    wanted: bool = False
    starts: int = 0
    popen: "subprocess.Popen[bytes] | None" = None
    _restart_at: float = 0.0
    _old: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.popen.pid if self.popen is not None and self.popen.poll() is None else None

    def start(self, *, talk: bool = False, once: bool = False) -> None:
        """Start it, from the main thread, on whose life its own hangs.

        talk: with pipes to its input and output. once: it is not started again when it ends.
        """
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                cwd=settings.BASE_DIR,
                env=dict(self.environment),
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=before_exec(signal.SIGKILL),
            )
        self.wanted = not once
        self.starts += 1

    def keep(self) -> None:
        """Start it again if it should run and does not; to be called often, from the main thread."""
        if not self.wanted or self.pid is not None:
            self._restart_at = 0.0
        elif not self._restart_at:
            self._restart_at = time.monotonic() + RESTART_SECONDS
        elif time.monotonic() >= self._restart_at:
            self._restart_at = 0.0
            self.start()

    def send(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            signal_quietly(pid, number)  # another thread may have waited for it

    def tree(self) -> list[int]:
        """Its process id and those of all its descendants."""
        pid = self.pid
        if pid is None:
            return []
        try:
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def children(self) -> list[int]:
        return self.tree()[1:]

    def read_log(self, last: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-last:]

    def end(self, patience_seconds: float = 0.0) -> None:
        """End it for good: asked first if there is patience, then by force, with all that it started."""
        self.wanted = False
        popen = self.popen
        if popen is None or popen.poll() is not None:
            return
        if patience_seconds:
            popen.terminate()
            try:
                popen.wait(patience_seconds)
                return
            except subprocess.TimeoutExpired:
                pass
        for pid in self.tree():
            signal_quietly(pid, signal.SIGKILL)
        popen.wait()


def signal_quietly(pid: int, number: signal.Signals) -> bool:
    """Signal a process. Returns False if it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
