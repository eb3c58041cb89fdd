"""Tasks that end in every way there is; loaded by the tests' processes through TASK_MODULES."""

import contextlib
import ctypes
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from celery import chain, group, shared_task
from celery.exceptions import Ignore, Reject
from django.db import connection, transaction

from jobs import Discard, Snooze, job
from jobs.ledger.run import current_run
from jobs.models import Job


@shared_task(name="probe.add")
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="probe.total")
def total(values: list[int]) -> int:
    return sum(values)


@shared_task(name="probe.boom")
def boom() -> None:
    raise ValueError("boom")


@shared_task(name="probe.note_error")
def note_error(task_id: str) -> str:
    return f"noted {task_id}"


@shared_task(name="probe.soft", soft_time_limit=1, time_limit=30)
def soft() -> None:
    time.sleep(20)


@shared_task(name="probe.hard", soft_time_limit=1, time_limit=2)
def hard() -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(BaseException):
            time.sleep(0.5)


@shared_task(name="probe.memory")
def memory() -> None:
    raise MemoryError


@shared_task(name="probe.leave")
def leave() -> None:
    sys.exit(3)


@shared_task(name="probe.ignore")
def ignore() -> None:
    raise Ignore


@shared_task(name="probe.reject")
def reject() -> None:
    raise Reject("unfit", requeue=False)


@shared_task(name="probe.replace", bind=True)
def replace(self: Any, x: int) -> None:
    raise self.replace(add.s(x, 1))


@shared_task(name="probe.replace_by_chain", bind=True)
def replace_by_chain(self: Any, x: int) -> None:
    raise self.replace(chain(add.s(x, 1), add.s(1)))


@shared_task(name="probe.replace_by_group", bind=True)
def replace_by_group(self: Any, x: int) -> None:
    raise self.replace(group(add.s(x, 1), add.s(x, 2)))


@shared_task(name="probe.autoretry", autoretry_for=(ValueError,), default_retry_delay=0, max_retries=2)
def autoretry() -> None:
    raise ValueError("again")


@shared_task(name="probe.not_json")
def not_json() -> object:
    return object()


@shared_task(name="probe.odd_error")
def odd_error() -> None:
    raise ValueError("caf\udce9.py")


@shared_task(name="probe.odd_result")
def odd_result() -> str:
    job.progress(1, "caf\udce9.py")
    return "caf\udce9.py"


@shared_task(name="probe.parent")
def parent() -> int:
    add.delay(1, 1)
    return 1


@job(name="probe.policy", max_attempts=3, backoff_seconds=0)
def policy() -> None:
    """Fails by its own policy, without Celery's retry."""
    raise ValueError("by policy")


@job(name="probe.unique", unique=lambda number: f"probe:{number}", max_attempts=1)
def unique(number: int) -> int:
    return number


@job(name="probe.gated", max_attempts=1)
def gated(path: str) -> str:
    """Runs until the test has made the file: however slow the machine, it does not end before."""
    for _ in range(6_000):
        if Path(path).exists():
            return "open"
        time.sleep(0.05)
    raise TimeoutError(f"nobody made {path}")


@job(name="probe.gated_again", max_attempts=2)
def gated_again(path: str) -> str:
    """One that may lose its process, and is run again."""
    return str(gated(path))


@job(name="probe.long", max_attempts=1)
def long(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.1)
        job.progress(min(0.99, 1 - (end - time.monotonic()) / seconds), "on the way")
    return "done"


@shared_task(name="probe.ghost", bind=True)
def ghost(self: Any) -> int:
    """Loses its claim while it runs, as a worker does that was away too long."""
    Job.objects.filter(pk=self.request.id).update(claim_id=uuid.uuid4())
    return 1


@shared_task(name="probe.retry_inside_transaction", bind=True, max_retries=1)
def retry_inside_transaction(self: Any) -> str:
    if self.request.retries:
        return "second time"
    with transaction.atomic():
        add.delay(1, 1)
        raise self.retry(countdown=0)


@shared_task(name="probe.die")
def die(how: str) -> None:
    """Ends its process in one of the ways that processes end."""
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(5)


@job(name="probe.die_once", max_attempts=1)
def die_at_most_once() -> None:
    os._exit(3)


@job(name="probe.snooze", max_attempts=1)
def snooze(seconds: float) -> str:
    run = current_run()
    if run is not None and run.number == 1:
        raise Snooze(seconds, "not yet")
    return "woken"


@job(name="probe.discard", max_attempts=4)
def discard(why: str) -> None:
    raise Discard(why)


@job(name="probe.unique_queued", unique=lambda key, value=0: f"queued:{key}", unique_while="queued", max_attempts=2)
def unique_queued(key: str, value: float = 0) -> float:
    """Runs for `value` seconds."""
    return long(value) and value


@job(name="probe.unique_period", unique=lambda key: f"period:{key}", unique_for_seconds=3600, max_attempts=1)
def unique_period(key: str) -> str:
    if key.startswith("bad"):
        raise ValueError(key)
    return key


@job(
    name="probe.debounced",
    unique=lambda key, value: f"debounced:{key}",
    debounce_seconds=1,
    debounce_max_seconds=5,
    max_attempts=1,
)
def debounced(key: str, value: int) -> int:
    return value


@job(name="probe.superseding", unique=lambda key, seconds=0: f"superseding:{key}", supersede=True, max_attempts=1)
def superseding(key: str, seconds: float = 0) -> str:
    return str(long(seconds))


@job(name="probe.superseding_soon", unique=lambda key, seconds=0: f"soon:{key}", supersede=True, max_attempts=1)
def superseding_soon(key: str, seconds: float = 0) -> str:
    """Hears at once that it is to stop, so that its end meets the next senders."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job.check_cancelled()
        time.sleep(0.02)
    return key


@job(name="probe.superseding_itself", unique=lambda key, more: f"itself:{key}", supersede=True, max_attempts=1)
def superseding_itself(key: str, more: int) -> int:
    if more:
        with transaction.atomic():
            superseding_itself.delay(key, more - 1)
            job.progress(1, "still allowed to report")
    return more


@shared_task(name="probe.fails_until_asked")
def fails_until_asked(x: int, works: bool = False) -> int:
    if not works:
        raise ValueError("not asked to work")
    return x


@shared_task(name="probe.replace_by_failing_chain", bind=True)
def replace_by_failing_chain(self: Any) -> None:
    raise self.replace(chain(boom.si(), add.si(1, 1)))


@shared_task(name="probe.listed")
def listed(values: list[Any]) -> list[Any]:
    return values


@shared_task(name="probe.echo_back")
def echo_back(text: str) -> str:
    return text


@shared_task(name="probe.bad_errback")
def bad_errback(request: Any, exc: Any, traceback: Any) -> None:
    """Takes more than an id, so Celery calls it in place."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


@job(name="probe.limited", limit_key=lambda seconds, key=None: f"key:{key}" if key else None, max_attempts=2)
def limited(seconds: float, key: str | None = None) -> str | None:
    """Takes its time, and has a key to be limited by."""
    time.sleep(seconds)
    return key


@job(name="probe.hungry", max_attempts=1)
def hungry(megabytes: int) -> int:
    return len(b"x" * (megabytes * 1_000_000))


@job(name="probe.slow_add", max_attempts=4)
def slow_add(x: int, y: float | None = None, seconds: float | None = None) -> int:
    """Adds what it is given last: of a chain, the value so far comes first."""
    value, pause = (x, y) if seconds is None else (x + int(y or 0), seconds)
    time.sleep(pause or 0)
    return value


@shared_task(name="probe.replace_by_refused_group", bind=True)
def replace_by_refused_group(self: Any) -> None:
    raise self.replace(group(add.s(1, 1), add.s(2, 2).set(queue="no_such_queue")))
