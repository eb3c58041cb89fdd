"""Runs jobs in the test's own process, one at a time, so that they can be stopped at any statement."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from celery import current_app
from celery.app.trace import build_tracer
from django.db import connection

from jobs.ledger import flusher, states
from jobs.ledger.records import message_of
from jobs.ledger.run import set_current
from jobs.models import Job, State

HOST = "in-process"


class Killed(BaseException):
    """Stands in for kill -9: nothing that was not committed remains."""


def run_job(job_id: str) -> None:
    """Do what a worker's child does with the job's message. A message of a job that does not wait is dropped."""
    row: dict[str, Any] = dict(Job.objects.filter(pk=job_id).values().get())
    headers, _, (args, kwargs, embed) = message_of(row)
    task = current_app.tasks[row["task"]]
    trace = build_tracer(task.name, task, app=current_app, hostname=HOST)
    request = {**headers, **embed, "hostname": HOST, "is_eager": False, "delivery_info": {}}
    try:
        trace(job_id, args, kwargs, request)
    finally:
        set_current(None)
        flusher.drain()


def next_queued() -> Job | None:
    """The oldest job that may run now."""
    with connection.cursor() as cursor:
        states.promote_due(cursor, 100)
    return Job.objects.filter(state=State.QUEUED).order_by("created_at", "id").first()


def run_all(most: int = 200) -> list[str]:
    """Run what is queued or due, and what that leads to, until nothing is. Returns the ids in their order."""
    ran: list[str] = []
    for _ in range(most):
        waiting = next_queued()
        if waiting is None:
            return ran
        run_job(waiting.pk)
        ran.append(waiting.pk)
    raise AssertionError(f"still not at rest after {most} jobs")


@contextlib.contextmanager
def killed_at(number: int) -> Iterator[Callable[[], bool]]:
    """Kill whatever this thread runs inside the block just before its statement `number`, counted from 1.

    Yields a function that tells whether that happened.
    """
    seen, killed = 0, False

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal seen, killed
        seen += 1
        if seen == number:
            killed = True
            raise Killed
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count), contextlib.suppress(Killed):
        yield lambda: killed
    set_current(None)


def rescue_all() -> None:
    """Give what is running, and has nobody left who runs it, back to be run again."""
    running = Job.objects.filter(state=State.RUNNING).values_list("pk", "claim_id")
    rows = [
        {
            "id": job_id,
            "claim_id": str(claim_id),
            "is_crash": False,
            "outcome": "lost",
            "kind": "rescued",
            "error": "its process died",
            "text": "Its process died.",
        }
        for job_id, claim_id in running
    ]
    if rows:
        with connection.cursor() as cursor:
            states.requeue(cursor, rows)


def at_once(*functions: Callable[[], Any]) -> None:
    """Call each function in a thread of its own, all from the same moment on. Raises the first error."""
    start = threading.Barrier(len(functions))
    errors: list[BaseException] = []

    def call(function: Callable[[], Any]) -> None:
        try:
            start.wait(120)
            function()
        except BaseException as exc:
            errors.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=call, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]
