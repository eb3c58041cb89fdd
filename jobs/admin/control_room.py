"""The first page: what waits, what runs, what failed. Each number leads to the rows that it counts."""

from datetime import timedelta
from typing import Any

from django.db.models import Count, F, Min, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django_celery_beat.models import PeriodicTask

from jobs.admin import show
from jobs.admin.paginator import CAP
from jobs.admin.workers import alive_workers, worker_pill
from jobs.lanes import QUEUES
from jobs.models import Job, State, Worker
from jobs.models.job import UNFINISHED
from jobs.schedules.next_runs import describe_schedule, next_runs

NEWEST_FAILURES = 8
NEXT_SCHEDULES = 8
MOST_SCHEDULES = 500


def control_room(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's dashboard callback: only what the user may see."""
    user = request.user
    if user.has_perm("jobs.view_job"):
        waiting = _by_queue()
        context |= {
            "tiles": _tiles(waiting),
            "queues": _queues(waiting),
            "failures": _failures(),
            "failures_url": jobs_url(state="failed"),
        }
    if user.has_perm("jobs.view_worker"):
        workers = list(Worker.objects.filter(stopped_at=None).order_by("name")[:50])
        context["workers"] = [
            {"worker": worker, "pill": worker_pill(worker), "ago": show.ago(worker.heartbeat_at)} for worker in workers
        ]
        context["workers_alive"] = alive_workers().count()
    if user.has_perm("django_celery_beat.view_periodictask"):
        context["upcoming"] = _upcoming()
    context["may_enqueue"] = user.has_perm("jobs.enqueue_job")
    return context


def jobs_url(**query: str) -> str:
    return f"{reverse('admin:jobs_job_changelist')}?{urlencode(query)}"


def _by_queue() -> list[dict[str, Any]]:
    """Unfinished jobs by queue and state, served by the index of unfinished rows."""
    rows = Job.objects.filter(state__in=UNFINISHED).order_by().values("queue", "state")
    return [dict(row) for row in rows.annotate(count=Count("pk"), oldest=Min("run_at"))]


def _tiles(waiting: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tiles = [
        {
            "label": state.value,
            "count": sum(row["count"] for row in waiting if row["state"] == state),
            "kind": state.value,
            "url": jobs_url(state=state),
        }
        for state in (State.RUNNING, State.QUEUED, State.SCHEDULED)
    ]
    day_ago = timezone.now() - timedelta(hours=24)
    failed = Job.objects.filter(state=State.FAILED, finished_at__gte=day_ago)[: CAP + 1].count()
    tiles.append(
        {
            "label": "failed in 24 hours",
            "count": failed,
            "kind": "failed",
            "url": jobs_url(state="failed", finished="24h"),
        }
    )
    for tile in tiles:
        tile["text"] = f"{CAP:,}+" if tile["count"] > CAP else f"{tile['count']:,}"
    return tiles


def _queues(waiting: list[dict[str, Any]]) -> list[dict[str, Any]]:
    cells = {(row["queue"], row["state"]): row for row in waiting}
    names = [*QUEUES, *sorted({row["queue"] for row in waiting} - set(QUEUES))]
    queues = []
    for name in names:
        queued = cells.get((name, State.QUEUED), {})
        queues.append(
            {
                "name": name,
                "purpose": QUEUES[name].purpose if name in QUEUES else "",
                "oldest": show.ago(queued.get("oldest")),
                "states": [
                    {
                        "count": f"{cells.get((name, state), {}).get('count', 0):,}",
                        "url": jobs_url(state=state, queue=name),
                    }
                    for state in (State.QUEUED, State.RUNNING, State.SCHEDULED)
                ],
            }
        )
    return queues


def _failures() -> list[dict[str, Any]]:
    # All three states, as the partial index has them, so that it serves the order too.
    rows = Job.objects.filter(
        Q(state__in=(State.FAILED, State.CANCELLED, State.DISCARDED)), state=State.FAILED
    ).order_by(F("finished_at").desc())
    return [
        {
            "job": job,
            "url": show.job_url(job.pk),
            "error": show.one_line(job.error or "no error was recorded", 140),
            "ago": show.ago(job.finished_at),
        }
        for job in rows.only("id", "task", "error", "finished_at")[:NEWEST_FAILURES]
    ]


def _upcoming() -> list[dict[str, Any]]:
    schedules = PeriodicTask.objects.filter(enabled=True).select_related("interval", "crontab", "clocked", "solar")
    due = [(runs[0], task) for task in schedules.order_by("pk")[:MOST_SCHEDULES] if (runs := next_runs(task, 1))]
    due.sort(key=lambda pair: pair[0])
    return [
        {
            "name": task.name,
            "url": reverse("admin:django_celery_beat_periodictask_change", args=[task.pk]),
            "words": describe_schedule(task),
            "when": show.ago(run),
        }
        for run, task in due[:NEXT_SCHEDULES]
    ]
