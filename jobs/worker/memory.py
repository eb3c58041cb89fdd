"""Whether the kernel killed a child because memory ran out, which the child's signal alone does not tell."""

import re
from pathlib import Path

#: Of the memory controller: version 2 tells in the group's own events, version 1 in its out-of-memory control.
_COUNTERS = ("memory.events", "memory.oom_control")
_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)

_seen = 0


def oom_kills() -> int:
    """Processes of this process' control group that the kernel has killed for memory; 0 where it does not tell."""
    for folder in _folders():
        for name in _COUNTERS:
            try:
                found = _KILLS.search((folder / name).read_text())
            except OSError:
                continue
            if found:
                return int(found[1])
    return 0


def begin() -> None:
    """Count from now on; called when the worker starts."""
    global _seen
    _seen = oom_kills()


def was_oom_killed() -> bool:
    """Whether the kernel has killed a process of this group for memory since the last time that this was asked."""
    global _seen
    before, _seen = _seen, oom_kills()
    return _seen > before


def _folders() -> list[Path]:
    """Where this process' control group keeps its memory files, in either version."""
    folders = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders.append(Path("/sys/fs/cgroup") / path.lstrip("/"))
        elif "memory" in controllers.split(","):
            folders.append(Path("/sys/fs/cgroup/memory") / path.lstrip("/"))
    return folders
