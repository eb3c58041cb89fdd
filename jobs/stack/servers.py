"""Embedded Postgres and Valkey: children of this process, on Unix sockets only, under the data folder."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, ClassVar

import psutil
import psycopg
import redis

from jobs.stack.account import Account, postgres_account
from jobs.stack.binaries import postgres_programs, valkey_program
from jobs.stack.errors import StackError
from jobs.stack.parent import before_exec

DATABASE = "switchyard"
USER = "switchyard"
_STALE_STOP_SECONDS = 20.0

Output = int | IO[Any] | None


class Server:
    """One embedded server.

    `prepare`, then `start` from the main thread (the parent-death signal follows the thread), then poll `is_ready`,
    then `finish_start`; `run` does all of it.
    """

    name: ClassVar[str]
    #: What ends it cleanly and soon.
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, data: Path, sockets: Path, *, throwaway: bool = False) -> None:
        """throwaway: nothing needs to survive a crash of the machine, as in tests."""
        self.folder = data / self.folder_name
        self.socket_folder = sockets / self.folder_name
        self.throwaway = throwaway
        self.process: subprocess.Popen[bytes] | None = None

    folder_name: ClassVar[str]

    def prepare(self) -> None:
        """Make the folders and stop what an earlier run left behind."""
        raise NotImplementedError

    def start(self, output: Output = None) -> subprocess.Popen[bytes]:
        """Start the program; what it says goes to `output`, by default to our own standard error."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it answers. Does not wait."""
        raise NotImplementedError

    def finish_start(self) -> None:
        """What is left to do once it answers."""

    def run(self, output: Output = None, timeout_seconds: float = 60) -> None:
        """Prepare, start and wait until it answers. Raises StackError when it does not."""
        self.prepare()
        process = self.start(output)
        deadline = time.monotonic() + timeout_seconds
        while not self.is_ready():
            if process.poll() is not None:
                raise StackError(f"{self.name} ended at its start with exit code {process.returncode}; see its log")
            if time.monotonic() > deadline:
                self.stop()
                raise StackError(f"{self.name} did not answer within {timeout_seconds:.0f} s; see its log")
            time.sleep(0.02)
        self.finish_start()

    def stop(self, timeout_seconds: float = 20) -> None:
        """End it cleanly, or by force when it takes longer than that."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(self.stop_signal)
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _popen(self, command: list[str], output: Output, account: Account | None = None) -> subprocess.Popen[bytes]:
        options = account.popen_options() if account else {}
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            # Out of the terminal's reach: Ctrl-C must not stop it before its clients.
            start_new_session=True,
            preexec_fn=before_exec(self.stop_signal),
            **options,
        )
        return self.process

    def _stop_stale(self, pid_file: Path) -> None:
        """End a server that an earlier run left on this folder; forget one that is gone."""
        try:
            pid = int(pid_file.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        if not _works_in(pid, self.folder):
            # Another program may have that number by now, and Postgres would refuse to start beside it.
            pid_file.unlink(missing_ok=True)
            return
        with contextlib.suppress(psutil.NoSuchProcess):  # it may be ending by itself: its parent has died
            process = psutil.Process(pid)
            process.send_signal(self.stop_signal)
            try:
                process.wait(_STALE_STOP_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(_STALE_STOP_SECONDS)


class Postgres(Server):
    """Postgres; when we are root, as an account that need not be able to enter the folders above its data."""

    name = "postgres"
    folder_name = "pg"
    stop_signal = signal.SIGINT  # "fast": rolls back what is open, then stops cleanly

    def prepare(self) -> None:
        self.account = postgres_account()
        self.programs = postgres_programs()
        make_private_folder(self.socket_folder, self.account)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._stop_stale(self.folder / "postmaster.pid")
        if not (self.folder / "PG_VERSION").is_file():
            self._create_cluster()
        self._check_version()
        self._write_access_rules()

    def start(self, output: Output = None) -> subprocess.Popen[bytes]:
        command = [str(self.programs / "postgres"), "-D", _here(self.folder)]
        for name, value in self._options().items():
            command += ["-c", f"{name}={value}"]
        return self._popen(command, output, self.account)

    def is_ready(self) -> bool:
        # By its own status file: a connection that comes too early would put an error into its log.
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        started = self.process is not None and lines[:1] == [str(self.process.pid)]
        return started and len(lines) > 7 and lines[7].strip() == "ready"

    def finish_start(self) -> None:
        with self._connect() as connection:
            connection.autocommit = True
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(host=str(self.socket_folder), user=USER, dbname="postgres", connect_timeout=5)

    def _options(self) -> dict[str, str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            # One machine, no replicas: fewer processes and less written twice.
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "max_logical_replication_workers": "0",
            "shared_buffers": "64MB",
            "autovacuum_max_workers": "2",
            "log_min_messages": "log",  # errors in a statement are its sender's to tell
            "log_checkpoints": "off",
            "log_line_prefix": "",
            "jit": "off",
            "huge_pages": "off",
        }
        if self._version() >= 18:
            options["io_method"] = "sync"  # else three more processes
        if self.throwaway:
            # Commits still wait for the write-ahead log: they outlive the server, though not the machine.
            options |= {"fsync": "off", "full_page_writes": "off"}
        return options

    def _create_cluster(self) -> None:
        """Under another name first, so that an interrupted start leaves no half-made cluster."""
        unfinished = self.folder.with_name("pg.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.account.own(unfinished)
        command = [str(self.programs / "initdb"), "-D", _here(unfinished), "-U", USER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C", "--no-instructions", *(["--no-sync"] if self.throwaway else [])]
        done = subprocess.run(
            command,
            cwd=unfinished,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before_exec(signal.SIGKILL),
            check=False,
            **self.account.popen_options(),
        )
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip()
            raise StackError(f"Postgres could not create its data folder {self.folder}:\n{said}")
        if self.folder.is_dir():
            self.folder.rmdir()
        unfinished.rename(self.folder)

    def _version(self) -> int:
        return int((self.folder / "PG_VERSION").read_text().split(".")[0])

    def _check_version(self) -> None:
        said = subprocess.run([self.programs / "postgres", "--version"], capture_output=True, text=True, check=False)
        program = said.stdout.split()[-1].split(".")[0] if said.stdout else "?"
        if program != str(self._version()):
            raise StackError(
                f"{self.folder} was made by Postgres {self._version()}, but the installed one is {program}; install "
                f"that version, or move the folder away to start with an empty one"
            )

    def _write_access_rules(self) -> None:
        """Only the account that starts the stack may connect, also where the socket belongs to another."""
        user = psutil.Process().username()
        rules = {"pg_hba.conf": "local all all peer map=owner\n", "pg_ident.conf": f'owner "{user}" {USER}\n'}
        for name, text in rules.items():
            path = self.folder / name
            path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(0o600)
            self.account.own(path)


class Valkey(Server):
    name = "valkey"
    folder_name = "valkey"
    stop_signal = signal.SIGTERM

    def prepare(self) -> None:
        self.program = valkey_program()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private_folder(self.socket_folder)
        self._stop_stale(self._pid_file)

    def start(self, output: Output = None) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": ".",
            "appendonly": "no" if self.throwaway else "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "pidfile": str(self._pid_file),
            "loglevel": "warning",
            "daemonize": "no",
            "always-show-logo": "no",
        }
        command = [str(self.program)]
        for name, value in options.items():
            command += [f"--{name}", value]
        return self._popen(command, output)

    def is_ready(self) -> bool:
        client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5, socket_connect_timeout=5)
        try:
            return bool(client.ping())
        except redis.RedisError:  # not there yet, or reading its file
            return False
        finally:
            client.close()

    @property
    def socket(self) -> Path:
        return self.socket_folder / "valkey.sock"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "valkey.pid"


def make_private_folder(folder: Path, owner: Account | None = None) -> None:
    """Make a folder for a socket, mode 0700, and check that nobody else made it first.

    Its parent is the stack's own folder in a shared place such as /tmp: when the socket belongs to another account,
    that one may pass through but not look.
    """
    _make_own(folder.parent, 0o711 if os.geteuid() == 0 else 0o700, os.geteuid())
    _make_own(folder, 0o700, os.geteuid() if owner is None else owner.uid, owner)


def _make_own(folder: Path, mode: int, uid: int, owner: Account | None = None) -> None:
    try:
        folder.mkdir(mode=mode)
    except FileExistsError:
        pass
    else:
        folder.chmod(mode)  # whatever the umask
        if owner is not None:
            owner.own(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & ~mode:
        raise StackError(
            f"{folder} is not a folder of ours with mode {mode:04o}: another account may have made it. Remove it, or "
            f"choose another DATA"
        )


def _here(folder: Path) -> str:
    """The working folder, named without its parents, which the account may not be able to enter."""
    return "/proc/self/cwd" if sys.platform == "linux" and os.geteuid() == 0 else str(folder)


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(psutil.Process(pid).cwd()).resolve() == folder.resolve()
    except (psutil.Error, OSError):
        return False
