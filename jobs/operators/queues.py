"""How full each queue is, and who works on it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Case, CharField, Q, QuerySet, Value, When
from django.db.models.functions import Now

from jobs.lanes import LANES
from jobs.ledger.lease import LEASE_SECONDS
from jobs.models import Job, Scope, State, Worker
from jobs.operators.limits import limit_states

#: As long as the ledger leaves its jobs to it.
SILENT_AFTER = timedelta(seconds=LEASE_SECONDS)


@dataclass(frozen=True)
class QueueState:
    """One queue. waiting: due, and not yet taken. oldest_waiting_seconds: since when the oldest of these is due.

    held: those of the waiting that a pause or a limit holds back. limits: its own pause and limits, in words.
    """

    name: str
    lane: str
    purpose: str
    waiting: int
    scheduled: int
    running: int
    oldest_waiting_seconds: float | None
    workers: int
    held: int = 0
    paused: bool = False
    limits: str = ""


def queue_states() -> list[QueueState]:
    """Every queue of every lane, in one statement over unfinished jobs: its cost does not grow with history."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT queue, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'scheduled'),
                   count(*) FILTER (WHERE state = 'running'),
                   extract(epoch FROM clock_timestamp() - min(run_at) FILTER (WHERE state = 'queued'))::float8,
                   count(*) FILTER (WHERE state = 'queued' AND held)
            FROM jobs_job WHERE state IN ('scheduled', 'queued', 'running') GROUP BY queue
            """
        )
        counts = {name: numbers for name, *numbers in cursor.fetchall()}
    served = list(workers().filter(state="alive").values_list("queues", flat=True))
    limits = {limit.name: limit for limit in limit_states(Scope.QUEUE)}
    states = []
    for lane in LANES.values():
        for queue in lane.queues:
            waiting, scheduled, running, oldest, held = counts.get(queue.name, [0, 0, 0, None, 0])
            limit = limits[queue.name]
            states.append(
                QueueState(
                    name=queue.name,
                    lane=lane.name,
                    purpose=queue.purpose,
                    waiting=waiting,
                    scheduled=scheduled,
                    running=running,
                    oldest_waiting_seconds=None if oldest is None else round(max(oldest, 0.0), 1),
                    workers=sum(queue.name in queues for queues in served),
                    held=held,
                    paused=limit.paused,
                    limits=limit.text,
                )
            )
    return states


def workers() -> QuerySet[Any]:
    """Every worker and beat that has reported, each with `state`, by Postgres' clock.

    alive; silent: its heartbeat stopped without a word; stopped: it ended in order.
    """
    state = Case(
        When(stopped_at__isnull=False, then=Value("stopped")),
        When(Q(heartbeat_at__lt=Now() - SILENT_AFTER), then=Value("silent")),
        default=Value("alive"),
        output_field=CharField(),
    )
    return Worker.objects.annotate(state=state).order_by("name")


def running_on(names: list[str]) -> dict[str, list[str]]:
    """The ids of the jobs that each of these workers runs now."""
    running: dict[str, list[str]] = {name: [] for name in names}
    rows = Job.objects.filter(state=State.RUNNING, worker__in=names).order_by("started_at")
    for name, job_id in rows.values_list("worker", "pk"):
        running[name].append(job_id)
    return running
