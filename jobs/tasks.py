"""Tasks of the ledger itself: the clean-up, and self-tests for drills, demonstrations and other people's checks."""

import os
import signal as signals
import time
from typing import Any

from jobs import job, retention
from jobs.effects.copies import check_copies
from jobs.effects.selftest import post_once
from jobs.ledger.run import current_run
from jobs.schedules.defaults import default_schedule


@job(name="jobs.clean_up", queue="maintenance", unique=lambda: "jobs.clean_up", max_attempts=4)
def clean_up() -> dict[str, int]:
    """Empty old results and prune old jobs, in small batches."""
    return retention.clean_up()


default_schedule(
    "Clean up history",
    task="jobs.clean_up",
    queue="maintenance",
    description="Empties results after a day and prunes old jobs, in small batches.",
    crontab={"minute": "30", "hour": "3", "timezone": "UTC"},
)


@job(name="selftest.echo", max_attempts=2, backoff_seconds=1)
def echo(value: Any) -> Any:
    """Return the value."""
    return value


@job(name="selftest.sleep", max_attempts=2, backoff_seconds=1)
def sleep(seconds: float, steps: int = 1) -> float:
    """Sleep, reporting progress after each step."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    for step in range(steps):
        time.sleep(seconds / steps)
        job.progress((step + 1) / steps, f"step {step + 1} of {steps}")
    return seconds


@job(name="selftest.fail", max_attempts=4, bind=True, max_retries=3)
def fail(self: Any, message: str, times: int = 1, backoff_seconds: float = 0) -> str:
    """Fail so many attempts, backoff_seconds apart, then succeed; with times of 4 or more the job ends failed."""
    run = current_run()
    attempt = run.attempt if run else times + 1
    if attempt > times:
        return f"succeeded at attempt {attempt}"
    raise self.retry(exc=RuntimeError(message), countdown=backoff_seconds)


@job(name="selftest.crash", max_attempts=4, backoff_seconds=1)
def crash(signal: int = 9) -> None:
    """Kill the process that runs this job."""
    os.kill(os.getpid(), signals.Signals(signal))
    time.sleep(5)
    raise RuntimeError(f"signal {signal} did not end this process")


@job(name="selftest.effect", max_attempts=8, backoff_seconds=1, backoff_cap_seconds=10)
def effect(url: str, key: str, lookup_url: str | None = None) -> str:
    """Post {"key": key} once to a loopback or allowed URL; the look-up URL tells whether the key is known there."""
    return post_once(url, key, lookup_url)


@job(name="jobs.check_effects", queue="maintenance", unique=lambda: "jobs.check_effects", max_attempts=4)
def check_effects() -> dict[str, int]:
    """Count at the far side what was tried more than once."""
    return check_copies()
