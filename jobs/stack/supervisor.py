"""Starts processes, reads what they say, starts again what dies, and stops all of them in order.

One thread and one select loop, because children are forked from here.
"""

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType

from jobs.stack.errors import StackError
from jobs.stack.output import Log
from jobs.stack.program import Program, ServerProgram

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CHUNK = 64 * 1024
_HURRY_SECONDS = 5.0


class StopRequested(Exception):
    """Ctrl-C or SIGTERM came while the stack was starting or running."""


class Supervisor:
    def __init__(self, log: Log, own_name: str) -> None:
        self.log = log
        self.own_name = own_name
        self.programs: list[Program] = []
        self.stop_requests = 0
        self.stopping = False
        self.selector = selectors.DefaultSelector()
        self._pipes: set[int] = set()
        self._wake, wake_up = os.pipe()
        for descriptor in (self._wake, wake_up):
            os.set_blocking(descriptor, False)
        self._wake_up = wake_up
        self.selector.register(self._wake, selectors.EVENT_READ, self._on_wake)
        signal.set_wakeup_fd(wake_up, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def say(self, text: str) -> None:
        self.log.line(self.own_name, text)

    def descriptors(self) -> list[int]:
        """What a forked child must close."""
        return [self._wake, self._wake_up, self.selector.fileno(), *self._pipes]

    def start(self, program: Program) -> None:
        """Start one program. Raises StackError when a server cannot even be prepared."""
        if program not in self.programs:
            self.programs.append(program)
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._listen(ours, lambda data: self._on_output(program, data))
        try:
            told = program.start(theirs)
        finally:
            os.close(theirs)
        if told is not None:
            os.set_blocking(told, False)
            self._listen(told, lambda data: self._on_told(program, data))

    def run_until(self, condition: Callable[[], bool], timeout_seconds: float | None = None) -> bool:
        """Serve the processes until the condition holds. Returns whether it does.

        Raises StopRequested on Ctrl-C, unless we are stopping already.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            if self.stop_requests and not self.stopping:
                raise StopRequested
            self._reap()
            if condition():
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self._restart_due()
            self._select(deadline)

    def wait_started(self, program: Program, seconds: float) -> None:
        """Wait until a program that the rest needs is ready, or has done its work.

        Raises StackError when it ends badly or takes too long.
        """

        def settled() -> bool:
            if program.exit_code is not None:
                return True
            return program.check_ready() if isinstance(program, ServerProgram) else program.ready

        done = self.run_until(settled, seconds)
        if not done:
            raise StackError(f"{program.name} did not start within {seconds:.0f} s; its lines above say why")
        if program.exit_code is not None and not (program.once and program.exit_code == 0):
            raise StackError(f"{program.name} {program.how_it_ended()}; its lines above say why")

    def stop(
        self, programs: Iterable[Program], waiting: str, patience_seconds: float, *, may_hurry: bool = True
    ) -> None:
        """Ask the programs to end, and wait; lost patience ends them by force.

        waiting: what to say meanwhile; it may hold {count} and {names}. may_hurry: whether a second request to stop
        ends the patience.
        """
        self.stopping = True
        programs = [program for program in programs if program.running]
        for program in programs:
            program.send(program.stop_signal)

        def over() -> bool:
            return not any(program.running for program in programs) or (may_hurry and self.stop_requests > 1)

        deadline = time.monotonic() + patience_seconds
        pause = 3.0
        while not self.run_until(over, min(pause, max(0.0, deadline - time.monotonic()))):
            left = [program.name for program in programs if program.running]
            self.say(waiting.format(count=len(left), names=", ".join(left)))
            pause = 10.0
            if time.monotonic() >= deadline:
                break
        self._end([program for program in programs if program.running])

    def _end(self, programs: list[Program]) -> None:
        """End what is left by force."""
        for program in programs:
            self.say(f"{program.name} is ended by force")
            program.hurry()
        if not self.run_until(lambda: not any(p.running for p in programs), _HURRY_SECONDS):
            for program in programs:
                program.kill()
            self.run_until(lambda: not any(p.running for p in programs))

    def drain_output(self, seconds: float = 1.0) -> None:
        """Read what ended processes have left in their pipes."""
        self.run_until(lambda: not self._pipes, seconds)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requests += 1

    def _select(self, deadline: float | None) -> None:
        now = time.monotonic()
        times = [program.restart_at for program in self.programs if program.restart_at is not None]
        times += [deadline] if deadline is not None else []
        if any(isinstance(p, ServerProgram) and p.running and not p.ready for p in self.programs):
            times.append(now + 0.05)  # it does not tell when it is ready
        wait = max(0.0, min(times) - now) if times else None
        for key, _ in self.selector.select(wait):
            key.data()

    def _on_wake(self) -> None:
        os.read(self._wake, _CHUNK)

    def _listen(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        self._pipes.add(descriptor)

        def read() -> None:
            try:
                data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                return
            take(data)
            if not data:
                self.selector.unregister(descriptor)
                self._pipes.discard(descriptor)
                os.close(descriptor)

        self.selector.register(descriptor, selectors.EVENT_READ, read)

    def _on_output(self, program: Program, data: bytes) -> None:
        if data:
            self.log.feed(program.name, data)
        else:
            self.log.finish(program.name)

    def _on_told(self, program: Program, data: bytes) -> None:
        for word in data.decode().split("\n"):
            if word == "ready":
                program.ready = True
            elif word:
                program.said.append(word)

    def _reap(self) -> None:
        for program in self.programs:
            if program.poll() and not program.once and not self.stopping:
                pause = program.plan_restart()
                self.say(f"{program.name} {program.how_it_ended()}; starting it again in {pause:.0f} s")

    def _restart_due(self) -> None:
        for program in self.programs:
            if isinstance(program, ServerProgram):
                program.check_ready()
            if program.restart_at is not None and program.restart_at <= time.monotonic() and not self.stopping:
                try:
                    self.start(program)
                except (StackError, OSError) as exc:
                    self.say(f"{exc}; trying again in {program.plan_restart():.0f} s")
