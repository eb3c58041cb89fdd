"""One supervised process: how it starts, how it is told to stop, and when it is started again."""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NoReturn

import psycopg

from jobs.stack.parent import die_with_parent
from jobs.stack.servers import Server

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 8.0
#: One that lived so long had started well: its next failure is a new one.
SETTLED_SECONDS = 60.0

#: A forked child calls it with a word for the supervisor: "ready", or something to show at the end of the start.
Tell = Callable[[str], None]


class Program(ABC):
    """States: not started (pid None), running (pid set), ended (exit_code set)."""

    stop_signal = signal.SIGTERM
    hurry_signal = signal.SIGKILL

    def __init__(self, name: str, *, once: bool = False) -> None:
        """once: it does its work and ends; it is not started again."""
        self.name = name
        self.once = once
        self.pid: int | None = None
        self.exit_code: int | None = None
        self.ready = False
        self.said: list[str] = []
        self.started_at = 0.0
        self.restart_at: float | None = None
        self.pause = FIRST_PAUSE_SECONDS

    @property
    def running(self) -> bool:
        return self.pid is not None

    def start(self, output: int) -> int | None:
        """Start it with `output` as its standard output and error.

        Returns a pipe on which it tells how far it is, if it has one.
        """
        self.exit_code, self.ready, self.restart_at = None, False, None
        self.said = []
        self.started_at = time.monotonic()
        self.pid, told = self._start(output)
        return told

    def poll(self) -> bool:
        """Whether it has ended since the last call; then `exit_code` is set, negative for a signal."""
        if self.pid is None:
            return False
        exit_code = self._exit_code(self.pid)
        if exit_code is None:
            return False
        self.pid, self.exit_code = None, exit_code
        return True

    def plan_restart(self) -> float:
        """Set when to start it again. Returns in how many seconds: 1, 2, 4 … 30."""
        now = time.monotonic()
        if now - self.started_at >= SETTLED_SECONDS:
            self.pause = FIRST_PAUSE_SECONDS
        pause = self.pause
        self.pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self.restart_at = now + pause
        return pause

    def send(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)

    def hurry(self) -> None:
        """End it now, as cleanly as it can."""
        self.send(self.hurry_signal)

    def kill(self) -> None:
        """End it whatever it does."""
        self.send(signal.SIGKILL)

    def how_it_ended(self) -> str:
        if self.exit_code is not None and self.exit_code < 0:
            return f"was killed by {signal.Signals(-self.exit_code).name}"
        return f"ended with exit code {self.exit_code}"

    @abstractmethod
    def _start(self, output: int) -> tuple[int, int | None]: ...

    @abstractmethod
    def _exit_code(self, pid: int) -> int | None: ...


class ServerProgram(Program):
    """An embedded server. It is not forked from us but run, so it tells nothing: it is asked."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.name)
        self.server = server
        self.stop_signal = server.stop_signal
        self.hurry_signal = signal.SIGQUIT

    def check_ready(self) -> bool:
        if not self.ready and self.running and self.server.is_ready():
            with contextlib.suppress(psycopg.OperationalError):  # gone again: it is asked once more, or ends
                self.server.finish_start()
                self.ready = True
        return self.ready

    def _start(self, output: int) -> tuple[int, int | None]:
        self.server.prepare()
        return self.server.start(output).pid, None

    def _exit_code(self, pid: int) -> int | None:
        return self.server.process.poll() if self.server.process is not None else 0


class ForkedProgram(Program):
    """A function of ours in a child forked from this process, so that what is loaded here is shared memory."""

    def __init__(
        self,
        name: str,
        target: Callable[[Tell], int | None],
        *,
        once: bool = False,
        close: Callable[[], Iterable[int]] = tuple,
        hurry_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """close: the files of the supervisor that the child must not hold, asked at each fork."""
        super().__init__(name, once=once)
        self.target = target
        self.close = close
        self.hurry_signal = hurry_signal

    def hurry(self) -> None:
        # One that is still starting knows no orderly way to end.
        if self.ready:
            super().hurry()
        else:
            self.kill()

    def kill(self) -> None:
        """With all that it has forked, which could not yet have been told to die with it."""
        if self.pid is None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it leads no group yet
            self.send(signal.SIGKILL)

    def _start(self, output: int) -> tuple[int, int | None]:
        if threading.active_count() > 1:
            raise RuntimeError(f"forking {self.name} beside other threads: {threading.enumerate()}")
        told, tell = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(told)
            self._be_child(parent, output, tell)
        os.close(tell)
        return pid, told

    def _be_child(self, parent: int, output: int, tell: int) -> NoReturn:
        code = 1
        try:
            os.setsid()  # Ctrl-C is for the supervisor, which stops its children in order
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            die_with_parent(signal.SIGKILL, parent)
            _redirect(output)
            for descriptor in self.close():
                os.close(descriptor)
            code = self.target(lambda word: _tell(tell, word)) or 0
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
            if isinstance(exc.code, str):
                sys.stderr.write(f"{exc.code}\n")
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _exit_code(self, pid: int) -> int | None:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 1
        return os.waitstatus_to_exitcode(status) if done else None


def _redirect(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in (nothing, output):
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _tell(pipe: int, word: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, f"{word}\n".encode())
