"""The programs that a task starts, and how they end with it.

Each child of a worker's pool leads a session of its own, and marks in its environment what it starts. So whatever a
task has started is found, also what went to the background or started another session: by descent while the child
lives, by session and by mark once it is dead.
"""

import contextlib
import os
import platform
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

MARK = "SWITCHYARD_STARTED_BY"
#: A program may start another while it is looked for; that one is found at the next look.
MOST_LOOKS = 10

IS_LINUX = platform.system() == "Linux"

_is_pool_child = False


def lead_family() -> None:
    """Have what this child of a pool will start be found later. Called once, at its start."""
    global _is_pool_child
    _is_pool_child = True
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    os.environ[MARK] = _mark(os.getppid(), os.getpid())


def mark() -> dict[str, str]:
    """For the environment of a program that is not given ours."""
    return {MARK: os.environ[MARK]} if MARK in os.environ else {}


def end_child(pid: int, *, is_dead: bool = False) -> int:
    """Kill a child of this worker's pool with all that it started. Returns how many went beside the child.

    is_dead: it has been waited for, so its number may be another process' by now.
    """
    if not is_dead:
        _signal_child(pid, signal.SIGSTOP)  # so that it starts nothing more
    ended = end_programs_of(pid)
    if not is_dead:
        _signal_child(pid, signal.SIGKILL)
    return ended


def _signal_child(pid: int, number: signal.Signals) -> None:
    """Unless it is gone: it may end by itself, and another thread have waited for it."""
    with contextlib.suppress(ProcessLookupError):
        if _parent(pid) == os.getpid():
            os.kill(pid, number)


def end_programs_of(pid: int, *, since: float = 0.0) -> int:
    """Kill what a child of a pool started, dead or alive, but not itself. since: seconds after boot.

    Returns how many were killed.
    """
    if pid == os.getpid() and not _is_pool_child:
        return 0  # other jobs' programs are beside those of the one that is meant
    killed: set[psutil.Process] = set()
    for _ in range(MOST_LOOKS):
        found = {process for process in _programs_of(pid) if since == 0.0 or _born(process) >= since} - killed
        if not found:
            break
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        killed |= found
    return len(killed)


def end_own_programs(began: float) -> int:
    """Kill what the job of this child has started since `began`, on the monotonic clock; what was there before stays.

    Outside of a pool's child nothing happens.
    """
    # The kernel counts in hundredths of a second.
    return end_programs_of(os.getpid(), since=_now() - (time.monotonic() - began) - 0.02)


def end_orphans() -> int:
    """Kill what the children of dead workers of this machine have left behind.

    `kill -9` of a worker ends its children at once, but not what these had started. Returns how many were killed.
    """
    births: dict[int, str] = {}
    ended = 0
    for process in psutil.process_iter():
        parts = _mark_of(process).split(":")
        # Numbers of another container's processes mean others here.
        if len(parts) != 4 or parts[0] != _namespace():
            continue
        worker = int(parts[1]) if parts[1].isdigit() else 0
        if births.setdefault(worker, _birth(worker)) != parts[2]:
            with contextlib.suppress(psutil.Error):
                process.kill()
                ended += 1
    return ended


def _programs_of(pid: int) -> Iterator[psutil.Process]:
    """Live processes that descend from a pool's child, are of its session, or carry its mark."""
    worker = os.getppid() if pid == os.getpid() else os.getpid()
    mark_of_child = _mark(worker, pid)
    is_there = pid == os.getpid() or _parent(pid) == worker
    # Once it is dead, its number may be another process'; not, though, while its session lives.
    session = pid if (_session(pid) == pid if is_there else not _is_alive(pid)) else None
    descendants = {process.pid for process in _descendants(pid)} if is_there else set()
    for process in psutil.process_iter():
        if process.pid == pid or not _is_alive(process.pid):
            continue
        if process.pid in descendants or _session(process.pid) == session or _mark_of(process) == mark_of_child:
            yield process


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _parent(pid: int) -> int:
    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return 0


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def _mark(worker: int, child: int) -> str:
    return f"{_namespace()}:{worker}:{_birth(worker)}:{child}"


def _mark_of(process: psutil.Process) -> str:
    try:
        return str(process.environ().get(MARK, ""))
    except (psutil.Error, OSError):
        return ""


def _namespace() -> str:
    """What tells containers apart whose processes have numbers of their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()).removeprefix("pid:")
    except OSError:
        return "-"


def _birth(pid: int) -> str:
    """When a process began, in a form that no change of the clock alters; empty if there is none."""
    if IS_LINUX:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            return ""
    try:
        return str(int(psutil.Process(pid).create_time()))
    except psutil.Error:
        return ""


def _born(process: psutil.Process) -> float:
    """When a process began, on the clock of `_now`; 0 if it is gone."""
    birth = _birth(process.pid)
    if not birth:
        return 0.0
    return int(birth) / os.sysconf("SC_CLK_TCK") if IS_LINUX else float(birth)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if IS_LINUX else time.time()
