"""Faults of workers and of the jobs themselves."""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from jobs.drill.process import Process, signal_quietly
from jobs.drill.registry import Scene, fault
from jobs.drill.system import wait_for

#: Longer than a worker may be silent before its jobs are given to others, with what it takes to notice.
FREEZE_SECONDS = 16.0
_CGROUPS = Path("/sys/fs/cgroup")
_MIB = 1024 * 1024


def random_worker(scene: Scene) -> Process:
    return scene.rng.choice(scene.system.workers)


def wait_busy(scene: Scene, worker: Process, seconds: float = 5.0) -> list[int]:
    """Wait until the worker runs jobs: short ones as they come, or, as often, one that takes its time.

    Returns the process ids of the children that do; empty if none did in time.
    """
    query = "SELECT pid FROM jobs_job WHERE state = 'running' AND worker = %s"
    if scene.rng.random() < 0.5:
        query += " AND task = 'selftest.sleep'"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rows = scene.rows(query, f"{worker.name}@drill")
        if rows:
            return [row[0] for row in rows]
        time.sleep(0.02)
    return []


def kill_worker(scene: Scene, worker: Process) -> None:
    worker.send(signal.SIGKILL)
    # Its children die with it; what they were doing is what was hit.
    scene.note_hit("state = 'running' AND worker = %s", f"{worker.name}@drill")


@fault("worker-kill", "A worker's main process is killed while its children run jobs.", row=1, weight=10, times=3)
def worker_kill(scene: Scene) -> None:
    worker = random_worker(scene)
    time.sleep(scene.rng.uniform(0.02, 0.25))
    wait_busy(scene, worker)
    kill_worker(scene, worker)


@fault("child-kill", "A child that runs a job is killed.", row=2, weight=10, times=3)
def child_kill(scene: Scene) -> None:
    worker = random_worker(scene)
    busy = wait_busy(scene, worker) or worker.children()
    pid = scene.rng.choice(sorted(busy)) if busy else None
    if pid is not None and signal_quietly(pid, signal.SIGKILL):
        scene.note_hit("state = 'running' AND worker = %s AND pid = %s", f"{worker.name}@drill", pid)


def send_one(scene: Scene, task: str, queue: str = "default", **kwargs: object) -> str:
    """Have a process of the system send one job. Returns its id."""
    return str(scene.system.inside("send", task=task, kwargs=kwargs, queue=queue)[0])


def wait_state(scene: Scene, job_id: str, states: tuple[str, ...], seconds: float) -> tuple[str, int | None, str]:
    """Wait until a job is in one of the states. Returns state, pid and worker as they are then, or at the end."""
    deadline = time.monotonic() + seconds
    row: tuple[str, int | None, str] = ("missing", None, "")
    while time.monotonic() < deadline:
        for state, pid, worker in scene.rows("SELECT state, pid, worker FROM jobs_job WHERE id = %s", job_id):
            row = (state, pid, worker)
        if row[0] in states:
            break
        time.sleep(0.02)
    return row


def memory_group() -> Path | None:
    """Where memory groups can be made (version 1 or 2); None without the right to."""
    for parent, limit in ((_CGROUPS / "memory", "memory.limit_in_bytes"), (_CGROUPS, "memory.max")):
        probe = parent / f"switchyard-drill-{os.getpid()}"
        try:
            probe.mkdir()
            found = (probe / limit).exists()
            probe.rmdir()
        except OSError:
            continue
        if found:
            return parent
    return None


@fault("out-of-memory", "A job takes more memory than there is: the kernel ends its process.", row=3, weight=2)
def out_of_memory(scene: Scene) -> None:
    parent = memory_group()
    job_id = send_one(scene, "drill.fill_memory", mib=256, seconds=8.0, limited=parent is None)
    scene.figures["memory_limit"] = "rlimit" if parent is None else "cgroup"
    if parent is None:
        wait_state(scene, job_id, ("succeeded", "failed", "scheduled"), 30)
        return
    group = parent / f"switchyard-drill-{os.getpid()}-{scene.rng.randrange(10**9)}"
    group.mkdir()
    try:
        limit = "memory.limit_in_bytes" if (group / "memory.limit_in_bytes").exists() else "memory.max"
        (group / limit).write_text(str(64 * _MIB))
        _, pid, _ = wait_state(scene, job_id, ("running",), 30)
        if pid is not None:
            (group / "cgroup.procs").write_text(str(pid))
            wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the kernel to end the process", 20)
            scene.note_hit("id = %s AND state = 'running'", job_id)
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (parent / "cgroup.procs").write_text(left)
        wait_for(lambda: _removed(group), "the memory group to empty", 20)


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:  # a process in it is not quite gone yet
        return False
    return True


@fault("poison", "Jobs that end their process each time: MemoryError, sys.exit, segfault, os._exit.", row=4, weight=2)
def poison(scene: Scene) -> None:
    mains = {worker.name: worker.pid for worker in scene.system.workers}
    alone = scene.figures.get("alone", False)
    ways = ("memory_error", "system_exit", "segfault", "exit")
    ids = {how: send_one(scene, "drill.die", how=how) for how in (ways if alone else [scene.rng.choice(ways)])}
    if not alone:
        return
    for how, job_id in ids.items():
        state, _, _ = wait_state(scene, job_id, ("failed",), 60)
        scene.expect(state == "failed", f"the job that ends by {how} is {state} instead of failed")
    after = {worker.name: worker.pid for worker in scene.system.workers}
    scene.expect(mains == after, f"workers ended of a job's death: {mains} became {after}")


@fault("stop-busy", "A busy worker is asked to stop (SIGTERM), as by a deployment.", row=5, weight=5)
def stop_busy(scene: Scene) -> None:
    worker = random_worker(scene)
    wait_busy(scene, worker)
    popen = worker.popen
    began = time.monotonic()
    worker.send(signal.SIGTERM)
    if popen is None:
        return
    while popen.poll() is None and time.monotonic() - began < 60:
        time.sleep(0.05)
    scene.figures["stop_s"] = round(time.monotonic() - began, 1)
    if scene.figures["alone"]:
        scene.expect(popen.poll() is not None, f"{worker.name} took more than 60 s to stop")
    if popen.poll() is None:
        popen.kill()


def freeze(pids: list[int], seconds: float) -> None:
    frozen = [pid for pid in pids if signal_quietly(pid, signal.SIGSTOP)]
    try:
        time.sleep(seconds)
    finally:
        for pid in frozen:
            signal_quietly(pid, signal.SIGCONT)


@fault(
    "freeze", "A worker, its main process or a child is frozen for longer than its lease, and wakes.", row=6, weight=4
)
def freeze_worker(scene: Scene) -> None:
    worker = random_worker(scene)
    busy = wait_busy(scene, worker)
    part = scene.rng.choice(("all", "main", "child"))
    scene.figures["frozen"] = part
    pids = worker.tree()
    if part == "main":
        pids = pids[:1]
    elif part == "child":
        pids = busy[:1]
    else:
        scene.note_hit("state = 'running' AND worker = %s", f"{worker.name}@drill")
    freeze(pids, FREEZE_SECONDS)


@fault("freeze-in-effect", "A worker is frozen while the far side does what it asked for.", row=7, weight=3)
def freeze_in_effect(scene: Scene) -> None:
    scene.system.delay_judge(**{scene.rng.choice(("before", "after")): 0.5})
    try:
        deadline = time.monotonic() + 8
        found: list[tuple[object, ...]] = []
        while not found and time.monotonic() < deadline:
            found = scene.rows(
                "SELECT worker FROM jobs_job WHERE state = 'running' AND task = 'selftest.effect' "
                "ORDER BY random() LIMIT 1"
            )
            time.sleep(0.02)
        time.sleep(scene.rng.uniform(0, 0.4))
        worker = scene.system.processes.get(str(found[0][0]).removesuffix("@drill")) if found else None
        pids = worker.tree() if worker is not None else []
    finally:
        scene.system.delay_judge()
    freeze(pids, FREEZE_SECONDS)


@fault("everything", "Workers, beats, web server, broker and database are all killed at once.", row=20, weight=1)
def everything(scene: Scene) -> None:
    system = scene.system
    with system.database.lock, system.broker.lock:
        for process in [*system.workers, *system.beats, system.processes["web"]]:
            process.send(signal.SIGKILL)
        with system.broker.down(signal.SIGKILL), system.database.down(signal.SIGQUIT):
            time.sleep(0.5)
    scene.note_hit("state = 'running'")


_LIBFAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)


def libfaketime() -> str | None:
    return next((path for path in _LIBFAKETIME if Path(path).is_file()), None)


def no_faketime() -> str | None:
    if sys.platform != "linux" or libfaketime() is None:
        return "libfaketime is not installed (Debian, Ubuntu: apt install libfaketime)"
    return None


@fault("clock", "A worker's clock is two hours ahead, and another's two behind.", row=21, missing=no_faketime)
def clock(scene: Scene) -> None:
    worker, other = scene.rng.sample(scene.system.workers, 2)
    usual = {process.name: process.environment for process in (worker, other)}
    try:
        for process, offset in ((worker, "+2h"), (other, "-2h")):
            process.environment = {**usual[process.name], "LD_PRELOAD": str(libfaketime()), "FAKETIME": offset}
            process.send(signal.SIGTERM)
        time.sleep(12)
    finally:
        for process in (worker, other):
            process.environment = usual[process.name]
            process.send(signal.SIGTERM)
    time.sleep(3)


@fault("old-worker", "A worker of an older version, which does not know the tasks, takes part.", row=26, weight=2)
def old_worker(scene: Scene) -> None:
    """As in the middle of a deployment: what it cannot run must wait for those who can."""
    system = scene.system
    name = f"old-{scene.rng.randrange(10**6)}"
    old = system.worker(name, "default,fast_lane,embedding", 1, TASK_MODULES="")
    system.ask(old.start)
    system.processes[name] = old
    time.sleep(8)
    old.wanted = False
    old.send(signal.SIGTERM)
    deadline = time.monotonic() + 40
    while old.pid is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    system.ask(old.end)
    failed = scene.rows("SELECT id FROM jobs_job WHERE state = 'failed' AND strpos(error, 'NotRegistered') > 0")
    scene.expect(not failed, f"{len(failed)} jobs failed because an old worker does not know their task: {failed[:5]}")


def is_root() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None
