"""What commands share that wait for jobs: `--wait`, `--timeout`, and a line now and then about what goes on."""

import math
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import TypeVar

from django.core.management.base import CommandError

from jobs.management.output import OperatorCommand, plain
from jobs.models import Job
from jobs.models.job import FINISHED

T = TypeVar("T")
POLL_SECONDS = 0.2
#: Between two lines: people read along on a terminal.
SAY_EVERY_SECONDS, SAY_EVERY_SECONDS_IN_LOGS = 1.0, 10.0


def add_wait(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--wait", action="store_true", help="wait for the end, telling how far it is; exit 1 if it fails"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", default=math.inf, help="wait no longer; the jobs go on (exit 1)"
    )


def check_timeout(seconds: float) -> None:
    if not seconds >= 0:
        raise CommandError(f"--timeout is {seconds}; it must be a number of seconds, 0 or more", returncode=2)


def wait_until(
    command: OperatorCommand, look: Callable[[], T | None], tell: Callable[[], str], timeout_seconds: float
) -> T:
    """Look until there is something, saying what `tell` says whenever that changes. Raises CommandError in the end."""
    deadline = time.monotonic() + timeout_seconds
    pause = SAY_EVERY_SECONDS if command.stderr.isatty() else SAY_EVERY_SECONDS_IN_LOGS
    said, next_word = "", time.monotonic() + SAY_EVERY_SECONDS
    while True:
        found = look()
        if found is not None:
            return found
        now = time.monotonic()
        if now >= deadline:
            raise CommandError(
                f"not done after {timeout_seconds:g} s: {tell()}; it goes on without this command. "
                "If no worker serves its queue, see: manage.py queues list"
            )
        if now >= next_word:
            text = tell()
            if text != said:
                command.say(plain(text))
            said, next_word = text, now + pause
        time.sleep(POLL_SECONDS)


def wait_for_job(command: OperatorCommand, job_id: str, timeout_seconds: float) -> Job:
    """The job, once it has finished."""

    def tell() -> str:
        job = Job.objects.filter(pk=job_id).first()
        if job is None:
            return f"job {job_id} is still to come"
        return f"{job.task}: {job.progress_note or job.state}"

    return wait_until(command, Job.objects.filter(pk=job_id, state__in=FINISHED).first, tell, timeout_seconds)
