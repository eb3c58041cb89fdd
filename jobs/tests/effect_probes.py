"""Tasks with effects that a test can hold up at any point; loaded through TASK_MODULES."""

import json
import time
from pathlib import Path
from typing import Any

from jobs import effects, job
from jobs.effects.selftest import is_known


def hold_up(folder: str, point: str) -> None:
    """Say that this point is reached, and wait until the test lets go, once: a second run passes."""
    reached = Path(folder) / f"{point}.reached"
    if reached.exists():
        return
    reached.touch()
    while not (Path(folder) / f"{point}.go").exists():
        time.sleep(0.02)


@job(name="probe.effect", max_attempts=6, backoff_seconds=0)
def probe_effect(url: str, key: str, folder: str, lookup_url: str | None = None, timeout_seconds: float = 2) -> Any:
    """Post the key once, held up between the intent and the write."""

    def call(attempt: effects.Try) -> int:
        hold_up(folder, "before the write")
        return effects.post(attempt, url, json.dumps({"key": key}).encode()).status

    def look_up(identity: str) -> str | None:
        assert lookup_url is not None
        return "found" if is_known(lookup_url, key, ["127.0.0.1"]) else None

    return effects.once(
        key, call, kind="probe", look_up=look_up if lookup_url else None, timeout_seconds=timeout_seconds
    )
