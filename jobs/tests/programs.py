"""What a task's programs are known by in tests: the file that they write to."""

from pathlib import Path

import psutil


def programs_writing_to(path: Path) -> list[int]:
    """The process ids of live programs whose standard output is this file."""
    return [process.pid for process in psutil.process_iter() if _is_writing_to(process, path)]


def _is_writing_to(process: psutil.Process, path: Path) -> bool:
    try:
        output = Path(f"/proc/{process.pid}/fd/1").readlink()
        return output == path and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False
