"""The processes of a year, and their violent ends."""

import random
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

from jobs.bench.parts import tell
from jobs.bench.stack import BenchError, Stack
from reminders.bench.year.script import Script

POLL_SECONDS = 0.05
LEASE_SECONDS = 6
_DRIVER = (
    "import sys, config, django; django.setup(); from reminders.bench.year import driver; driver.main(sys.argv[1])"
)


class Year:
    """Runs worker, mail server and driver until the driver is through, and kills each of them now and then."""

    def __init__(self, stack: Stack, script: Path) -> None:
        self.stack, self.script = stack, script
        self.clock, self.taken = stack.data / "year.clock", stack.data / "year.messages"
        self.kills = dict.fromkeys(("worker", "driver", "smtp"), 0)
        self._port = _free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def live(self, script: Script, seed: int, kills: int, timeout_seconds: float) -> None:
        """Raises BenchError if it does not come to its end in time."""
        chance = random.Random(seed)  # noqa: S311  (nothing depends on its being hard to guess)
        whole = script.end - datetime.fromisoformat(script.deeds[0]["at"])
        times = sorted(script.end - whole * chance.uniform(0.02, 0.98) for _ in range(kills))
        plan = [(at, chance.choice(list(self.kills))) for at in times]
        until = time.monotonic() + timeout_seconds
        try:
            for name in self.kills:
                self._start(name)
            while not self._is_over():
                while plan and self._now() >= plan[0][0]:
                    # Somewhere in what this minute has them do.
                    time.sleep(chance.uniform(0, 0.3))
                    self._kill(plan.pop(0)[1])
                if time.monotonic() > until:
                    raise BenchError(f"the year is not over after {timeout_seconds:.0f} s, at {self._now()}")
                time.sleep(POLL_SECONDS)
        finally:
            self.end()

    def _now(self) -> datetime:
        return datetime.fromisoformat(self.clock.read_text(encoding="ascii").strip())

    def _is_over(self) -> bool:
        for name in ("worker", "smtp"):
            if self._running[name].poll() is not None:
                raise BenchError(f"the {name} ended by itself; it said:\n{self._said(name)}")
        code = self._running["driver"].poll()
        if code is None or code == 0:
            return code == 0
        raise BenchError(f"the driver ended with {code}; it said:\n{self._said('driver')}\n{self._said('worker')}")

    def _kill(self, name: str) -> None:
        self._running[name].kill()
        self._running[name].wait()
        self.kills[name] += 1
        tell(f"year: {self._now():%Y-%m-%d %H:%M}, the {name} was killed")
        self._start(name)

    def _start(self, name: str) -> None:
        commands = {
            "worker": ["manage.py", "worker", "default", "deliveries"],
            "driver": ["-c", _DRIVER, str(self.script)],
            "smtp": ["-m", "reminders.bench.year.smtp", str(self._port), str(self.taken), str(self.clock)],
        }
        more = {
            "VIRTUAL_CLOCK": str(self.clock),
            "EMAIL_URL": f"smtp://127.0.0.1:{self._port}",
            "MAIL_FROM": "switchyard@example.org",
            "PUBLIC_URL": "http://localhost:8000",
            "LEASE_SECONDS": str(LEASE_SECONDS),
        }
        if name == "driver" and not self.clock.exists():
            self.clock.write_text("2026-01-01T00:00:00+00:00", encoding="ascii")
        self._running[name] = self.stack.popen(commands[name], self._log(name), **more)

    def _log(self, name: str) -> Path:
        return self.stack.data / f"year-{name}.log"

    def _said(self, name: str) -> str:
        return self._log(name).read_text(errors="replace").strip()[-3000:]

    def end(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        for process in self._running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
