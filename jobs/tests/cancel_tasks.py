"""Tasks that stop in every way there is, or will not; loaded by the workers of test_cancelling through TASK_MODULES."""

import contextlib
import signal
import subprocess
import time
from pathlib import Path

from billiard.exceptions import SoftTimeLimitExceeded
from celery import shared_task

from jobs import Discard, Snooze, job
from jobs.ledger.run import current_run
from jobs.models import Job


@job(name="cancel.polite", max_attempts=4)
def polite() -> None:
    while True:
        time.sleep(0.05)
        job.check_cancelled()


@job(name="cancel.sleeper", max_attempts=4)
def sleeper() -> None:
    time.sleep(300)


@job(name="cancel.tidy", max_attempts=4)
def tidy(path: str) -> str:
    """Uses what its soft limit leaves it to bring away what it has."""
    try:
        time.sleep(300)
    except SoftTimeLimitExceeded:
        Path(path).write_text("tidied up")
    return "a part"


@job(name="cancel.stubborn", max_attempts=4)
def stubborn() -> None:
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.05)


@job(name="cancel.deaf", max_attempts=4)
def deaf() -> None:
    """Hears no signal, as in a call of a C library that does not come back."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM})
    time.sleep(300)


@job(name="cancel.erring", max_attempts=4, backoff_seconds=0)
def erring() -> None:
    run = current_run()
    while run and not Job.objects.filter(pk=run.job_id, cancel_requested_at__isnull=False).exists():
        time.sleep(0.05)
    raise ValueError("broke off")


def start_tree(path: str) -> None:
    """Programs that start programs: in the foreground, in the background, in a session of their own, a daemon."""
    script = "sleep 301 & setsid sleep 302 & (setsid sleep 303 &) ; echo $$; sleep 304"
    with Path(path).open("wb") as output:
        subprocess.Popen(["/bin/sh", "-c", script], stdout=output)


@job(name="cancel.tree", max_attempts=4)
def tree(path: str, deaf_to_signals: bool = False) -> None:
    start_tree(path)
    if deaf_to_signals:
        deaf.run()
    time.sleep(300)


@shared_task(name="cancel.tree_until_hard_limit", soft_time_limit=0.9, time_limit=1)
def tree_until_hard_limit(path: str) -> None:
    start_tree(path)
    deaf.run()


@job(name="cancel.snoozing", max_attempts=1)
def snoozing(path: str, seconds: float) -> str:
    """Snoozes until the file is there."""
    if Path(path).exists():
        return "done"
    Path(path).write_text("")
    raise Snooze(seconds, "not yet")


@job(name="cancel.discarding", max_attempts=4)
def discarding() -> None:
    raise Discard("the pull request was closed")


@job(name="cancel.brief", max_attempts=4)
def brief(seconds: float) -> float:
    time.sleep(seconds)
    job.check_cancelled()
    return seconds


@shared_task(name="cancel.one_more")
def one_more(value: object) -> str:
    return f"after {value}"
