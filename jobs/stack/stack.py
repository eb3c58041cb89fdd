"""The whole system on one machine, in the order in which its parts need each other."""

import functools
import os
import signal
from collections.abc import Callable, Iterable

from django.conf import settings

from jobs.lanes import LANES, Lane
from jobs.stack import install, roles, web
from jobs.stack.errors import StackError
from jobs.stack.lock import lock_data_folder
from jobs.stack.output import Log
from jobs.stack.program import ForkedProgram, Program, ServerProgram
from jobs.stack.servers import Postgres, Valkey
from jobs.stack.supervisor import StopRequested, Supervisor

OWN_NAME = "switchyard"
_SERVER_SECONDS = 300.0  # crash recovery takes its time
_SETUP_SECONDS = 3600.0  # so does the migration of a large table
_READY_SECONDS = 60.0
_WEB_STOP_SECONDS = 15.0
_SETUP_STOP_SECONDS = 120.0
#: A running job may take up to its hard time limit.
_DRAIN_SECONDS = 600.0
_SERVER_STOP_SECONDS = 60.0


class Processes:
    """What `up` and `worker` share: a supervisor, and its way from start to stop."""

    def __init__(self, names: list[str]) -> None:
        self.supervisor = Supervisor(Log([OWN_NAME, *names]), OWN_NAME)
        self.workers: list[Program] = []

    def supervise(self) -> int:
        """Start, run until asked to stop, stop. Returns the exit code."""
        code = 0
        try:
            self.start()
            self.supervisor.run_until(lambda: False)
        except StopRequested:
            self.supervisor.say("stopping; once more to stop at once, without waiting for running jobs")
        except StackError as exc:
            self.supervisor.say(f"cannot start: {exc}")
            code = 1
        finally:
            self.stop()
            self.supervisor.drain_output()
        self.supervisor.say("stopped")
        return code

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self.supervisor.stop(self.workers, "draining: waiting for {count} workers ({names})", _DRAIN_SECONDS)

    def start_serving(self, programs: Iterable[Program]) -> None:
        """Start programs that need nothing of each other, and wait a while for all of them."""
        programs = list(programs)
        for program in programs:
            self.supervisor.start(program)
        if not self.supervisor.run_until(lambda: all(program.ready for program in programs), _READY_SECONDS):
            late = ", ".join(program.name for program in programs if not program.ready)
            self.supervisor.say(f"not ready after {_READY_SECONDS:.0f} s: {late}; going on")

    def worker(self, lane: Lane, close: Callable[[], Iterable[int]]) -> ForkedProgram:
        # Celery's cold shutdown, which tells its children first.
        return ForkedProgram(lane.name, functools.partial(roles.work, lane), close=close, hurry_signal=signal.SIGQUIT)


class Workers(Processes):
    """The workers of some lanes, for a machine that runs nothing else."""

    def __init__(self, lanes: list[Lane]) -> None:
        super().__init__([lane.name for lane in lanes])
        self.workers = [self.worker(lane, self.supervisor.descriptors) for lane in lanes]

    def start(self) -> None:
        roles.preload()
        roles.freeze()
        self.start_serving(self.workers)
        self.supervisor.say("ready")


class Stack(Processes):
    """Everything: embedded servers, web server, a worker for each lane, beat."""

    def __init__(self, port: int) -> None:
        """Raises StackError when the port or the data folder is taken."""
        self.port = port
        self.listener = web.bind(port)
        self.lock = lock_data_folder(settings.DATA_DIR)
        self.servers: list[Program] = []
        if settings.EMBEDDED_POSTGRES:
            self.servers.append(ServerProgram(Postgres(settings.DATA_DIR, settings.SOCKET_DIR)))
        if settings.EMBEDDED_REDIS:
            self.servers.append(ServerProgram(Valkey(settings.DATA_DIR, settings.SOCKET_DIR)))
        super().__init__(["setup", "static", "web", "beat", *LANES, *(server.name for server in self.servers)])

        def all_files() -> list[int]:
            return [self.lock, self.listener.fileno(), *self.supervisor.descriptors()]

        def all_but_the_port() -> list[int]:
            return [self.lock, *self.supervisor.descriptors()]

        self.static = ForkedProgram("static", install.collect_static_files, once=True, close=all_files)
        self.database = ForkedProgram("setup", install.prepare_database, once=True, close=all_files)
        self.web = ForkedProgram("web", functools.partial(web.serve, self.listener), close=all_but_the_port)
        self.beat = ForkedProgram("beat", roles.beat, close=all_files)
        self.workers = [self.worker(lane, all_files) for lane in LANES.values()]

    def start(self) -> None:
        supervisor = self.supervisor
        roles.preload()
        roles.freeze()
        os.environ.update(CELERY_SKIP_CHECKS="1")  # the setup ran them
        supervisor.start(self.static)
        for server in self.servers:
            supervisor.start(server)
        for server in self.servers:
            supervisor.wait_started(server, _SERVER_SECONDS)
        supervisor.start(self.database)
        for program in (self.database, self.static):
            supervisor.wait_started(program, _SETUP_SECONDS)
        self.start_serving([self.web, *self.workers, self.beat])
        self._announce()

    def stop(self) -> None:
        """Those who bring work first, then those who do it, then what they need."""
        stop = self.supervisor.stop
        stop([self.database], "waiting for the migrations to end", _SETUP_STOP_SECONDS, may_hurry=False)
        stop([self.static, self.beat, self.web], "waiting for {names}", _WEB_STOP_SECONDS)
        self.listener.close()
        super().stop()
        for server in reversed(self.servers):
            stop([server], "waiting for {names}", _SERVER_STOP_SECONDS, may_hurry=False)

    def _announce(self) -> None:
        say = self.supervisor.say
        say(f"ready: http://{web.ADDRESS}:{self.port}/admin/")
        for word in self.database.said:
            if word.startswith("password "):
                say(f"sign in as {install.ADMIN} with the password {word.removeprefix('password ')} (shown only now)")
        say("Ctrl-C stops everything")
