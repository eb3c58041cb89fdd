"""The machine a benchmark ran on, and what else ran there."""

import json
import os
import platform
import time
from importlib.metadata import version
from typing import Any

import psutil


def describe() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        **{package: version(package) for package in ("celery", "kombu", "django", "psycopg")},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def cpu_seconds(pids: list[int]) -> float:
    """CPU time, user and system, of these processes with all their children, ended ones included."""
    total = 0.0
    for pid in pids:
        try:
            root = psutil.Process(pid)
            processes = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for process in processes:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total


def pss_mb(pid: int) -> float:
    """The proportional set size of a process and its children, in MiB: pages that are shared count once."""
    root = psutil.Process(pid)
    return sum(process.memory_full_info().pss for process in [root, *root.children(recursive=True)]) / 2**20


def bare_loop_per_s(seconds: float = 0.3) -> float:
    """How often a second this interpreter encodes and decodes a small message and calls a function that does nothing.

    It tells how fast the machine is at the moment; nothing that passes messages can be faster.
    """
    message = {"id": "0" * 36, "task": "no_op", "args": [None], "kwargs": {}, "headers": {"retries": 0}}
    calls = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(200):
            _no_op(**json.loads(json.dumps(message)))
        calls += 200
    return calls / (time.perf_counter() - began)


def _no_op(**_: Any) -> None:
    return None


class Bystanders:
    """What other processes used of the processors between start and `report`."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._load = os.getloadavg()
        self._before = _all_cpu_times()
        self._cores_before = _cores()

    def report(self, count: int = 6) -> dict[str, Any]:
        """Load averages before and after, and the busiest processes outside this one's family.

        cores: how many were busy with what, on average. Call it when the benchmark's own processes have ended: their
        time counts once they have. `others` includes processes that came and went, which the list cannot name;
        `stolen` is what the machine's host gave to somebody else.
        """
        seconds = time.monotonic() - self._began
        machine, ours, stolen = (
            (after - before) / seconds for before, after in zip(self._cores_before, _cores(), strict=True)
        )
        family = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        used = [
            (after - self._before.get(key, (name, 0.0))[1], name)
            for key, (name, after) in _all_cpu_times().items()
            if key[0] not in family
        ]
        busiest = sorted((item for item in used if item[0] >= 0.1), reverse=True)[:count]
        return {
            "seconds": round(seconds, 1),
            "load_before": [round(load, 2) for load in self._load],
            "load_after": [round(load, 2) for load in os.getloadavg()],
            "cores": {"ours": round(ours, 2), "others": round(max(0.0, machine - ours), 2), "stolen": round(stolen, 2)},
            "other_processes": [
                {"name": name, "cpu_seconds": round(cpu, 1), "cores": round(cpu / seconds, 2)} for cpu, name in busiest
            ],
        }


def _cores() -> tuple[float, float, float]:
    """CPU seconds so far: of the whole machine, of this process and its ended children, and stolen by the host."""
    machine = psutil.cpu_times()
    own = os.times()
    idle = machine.idle + getattr(machine, "iowait", 0.0)
    stolen = getattr(machine, "steal", 0.0)
    # guest time is part of user time
    guest = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)
    return sum(machine) - idle - stolen - guest, sum(own[:4]), stolen


def _all_cpu_times() -> dict[tuple[int, float], tuple[str, float]]:
    """By process id and start time, because ids are used again. Names only: command lines may hold secrets."""
    found = {}
    for process in psutil.process_iter(["name", "cpu_times", "create_time"]):
        times = process.info["cpu_times"]
        if times is not None:
            found[process.pid, process.info["create_time"]] = (process.info["name"], times.user + times.system)
    return found
