"""The first page: what waits, what runs, what failed. Each number leads to the rows that it counts."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import F, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django_celery_beat.models import PeriodicTask

from jobs.admin import show
from jobs.admin.alerts import firing_alerts
from jobs.admin.limits import scope_url
from jobs.admin.paginator import CAP
from jobs.admin.workers import worker_pill
from jobs.models import Job, Scope, State
from jobs.operators.effects import effect_figures
from jobs.operators.limits import limit_states
from jobs.operators.queues import QueueState, queue_states, workers
from jobs.schedules.next_runs import describe_schedule, next_runs

NEWEST_FAILURES = 8
NEXT_SCHEDULES = 8
MOST_WORKERS = 50
MOST_SCHEDULES = 500


#: Tiles of other apps, in this order: each takes the user, and gives what that one may see.
_OF_APPS: list[Callable[[Any], list[dict[str, Any]]]] = []


def also_show(tiles: Callable[[Any], list[dict[str, Any]]]) -> None:
    """Have the first page show an app's figures: dictionaries of label, text, kind and url, as `_tiles` makes them."""
    if tiles not in _OF_APPS:
        _OF_APPS.append(tiles)


def control_room(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's dashboard callback: only what the user may see."""
    user = request.user
    if user.has_perm("jobs.view_job"):
        states = queue_states()
        context |= {
            "tiles": _tiles(states),
            "queues": [_queue(state) for state in states],
            "held_back": [
                {"title": state.title, "text": state.text, "url": scope_url(state.scope, state.name)}
                for state in limit_states()
                if state.paused
            ],
            "failures": _failures(),
            "failures_url": jobs_url(state="failed"),
        }
    if user.has_perm("jobs.view_effect"):
        context["tiles"] = [*context.get("tiles", []), *_effect_tiles()]
    for of_app in _OF_APPS:
        context["tiles"] = [*context.get("tiles", []), *of_app(user)]
    if user.has_perm("jobs.view_alert"):
        context["firing"] = firing_alerts()
    if user.has_perm("jobs.view_worker"):
        present = list(workers().filter(stopped_at=None)[:MOST_WORKERS])
        context["workers"] = [
            {"worker": worker, "pill": worker_pill(worker), "ago": show.ago(worker.heartbeat_at)} for worker in present
        ]
        context["workers_alive"] = sum(worker.state == "alive" for worker in present)
    if user.has_perm("django_celery_beat.view_periodictask"):
        context["upcoming"] = _upcoming()
    context["may_enqueue"] = user.has_perm("jobs.enqueue_job")
    return context


def jobs_url(**query: str) -> str:
    return f"{reverse('admin:jobs_job_changelist')}?{urlencode(query)}"


def _tiles(states: list[QueueState]) -> list[dict[str, Any]]:
    counts = {
        State.RUNNING: sum(state.running for state in states),
        State.QUEUED: sum(state.waiting for state in states),
        State.SCHEDULED: sum(state.scheduled for state in states),
    }
    tiles: list[dict[str, Any]] = [
        {"label": state.value, "count": count, "kind": state.value, "url": jobs_url(state=state)}
        for state, count in counts.items()
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


def _effect_tiles() -> list[dict[str, Any]]:
    """How many outside effects wait for a person, while any does."""
    uncertain = effect_figures().uncertain
    url = f"{reverse('admin:jobs_effect_changelist')}?state=uncertain"
    text = f"{uncertain:,}"
    return [{"label": "uncertain effects", "kind": "failed", "url": url, "text": text}] if uncertain else []


def _queue(state: QueueState) -> dict[str, Any]:
    oldest = state.oldest_waiting_seconds
    counts = ((State.QUEUED, state.waiting), (State.RUNNING, state.running), (State.SCHEDULED, state.scheduled))
    return {
        "name": state.name,
        "purpose": state.purpose,
        "oldest": show.DASH if oldest is None else show.duration_text(timedelta(seconds=oldest)),
        "counts": [(f"{count:,}", jobs_url(state=name, queue=state.name)) for name, count in counts],
        "workers": state.workers,
        "limits": state.limits,
        "paused": state.paused,
        "url": scope_url(Scope.QUEUE, state.name),
        "deserted": bool(state.waiting) and not state.workers,
    }


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
