"""What one job's page shows."""

import contextlib
import json
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django_celery_beat.models import PeriodicTask
from django_celery_results.models import TaskResult

from jobs.admin import show
from jobs.admin.effects import effects_of
from jobs.admin.job_actions import offered
from jobs.admin.unique_fields import key_text
from jobs.admin.workflow import workflow_part
from jobs.ledger.limits import reasons_to_wait
from jobs.models import Attempt, AuditEntry, Job, JobEvent, State
from jobs.models.job import UNFINISHED
from jobs.operators.cancelling import cancelling_of
from jobs.registry import UnknownTask, describe

if TYPE_CHECKING:
    from jobs.admin.base import BaseAdmin

MOST_ATTEMPTS = 50
MOST_CHILDREN = 50
MOST_AUDIT_ENTRIES = 20
MOST_EVENTS = 100


def status_of(job: Job) -> dict[str, Any]:
    """What the page's script asks for while the job is unfinished. progress: percent, or null."""
    return {
        "state": job.state,
        "attempt": job.attempt,
        "progress": None if job.progress is None else round(job.progress * 100),
        "note": show.one_line(job.progress_note, 200),
        "cancelling": bool(job.cancel_requested_at and job.state == State.RUNNING),
        "finished": job.state not in UNFINISHED,
    }


def job_page(model_admin: "BaseAdmin", request: HttpRequest, job: Job) -> HttpResponse:
    key = quote(job.pk)
    return model_admin.page(
        request,
        "jobs/job.html",
        title=job.task,
        job=job,
        pill=show.state_pill(job),
        status=status_of(job),
        status_url=reverse("admin:jobs_job_status", args=[key]),
        buttons=[
            {**button, "url": reverse(f"admin:jobs_job_{button['name']}", args=[key])}
            for button in offered(request, job)
        ],
        summary=_summary(job),
        facts=_facts(request, job),
        attempts=_attempts(job),
        events=_events(job),
        attempts_left_out=max(0, job.attempt - MOST_ATTEMPTS),
        arguments={"args": show.pretty_json(job.args), "kwargs": show.pretty_json(job.kwargs)},
        result=_result(job),
        workflow=workflow_part(job),
        relatives=_relatives(job),
        audit=_audit(request, job),
        effects=effects_of(request, job),
    )


def _summary(job: Job) -> str:
    try:
        return describe(job.task).summary
    except UnknownTask:
        return "This task is not registered here."


def _facts(request: HttpRequest, job: Job) -> list[tuple[str, Any]]:
    length = show.run_duration(job)
    facts: list[tuple[str, Any]] = [
        ("Id", format_html('<code class="sy-break">{}</code>', job.pk)),
        ("Queue", f"{job.queue}, priority {job.priority} (9 is taken first)"),
        ("Attempt", show.attempts_text(job)),
        ("Worker", f"{job.worker} (process {job.pid})" if job.worker else ""),
        ("Created", show.exact(job.created_at)),
        ("Runs at" if job.state == State.SCHEDULED else "Was due", show.exact(job.run_at)),
        ("Handed to the broker", show.exact(job.sent_at) if job.sent_at else ""),
        ("Started", show.exact(job.started_at) if job.started_at else ""),
        ("Finished", show.exact(job.finished_at) if job.finished_at else ""),
        ("Ran for", show.duration_text(length) if length is not None else ""),
        ("Expires", show.exact(job.expires_at) if job.expires_at else ""),
        ("Asked to stop", _cancelling(job)),
        ("Waits for", "; ".join(reasons_to_wait(job))),
        ("Reason", job.reason),
        ("Unique key", key_text(job)),
        ("Holds its key until", show.exact(job.unique_until) if job.unique_until else ""),
        ("Limit key", job.limit_key or ""),
        ("Origin", _origin(request, job)),
    ]
    return [(name, value) for name, value in facts if value]


def _cancelling(job: Job) -> Any:
    found = cancelling_of(job)
    return format_html("{}: {}", show.exact(found.requested_at), found.sentence()) if found else ""


def _origin(request: HttpRequest, job: Job) -> Any:
    if job.origin == "schedule" and job.origin_detail and request.user.has_perm("django_celery_beat.view_periodictask"):
        schedule = PeriodicTask.objects.filter(name=job.origin_detail).only("pk", "name").first()
        if schedule is not None:
            url = reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])
            return format_html('schedule <a class="sy-link" href="{}">{}</a>', url, schedule.name)
    return f"{job.origin} {job.origin_detail}".strip()


def _attempts(job: Job) -> list[dict[str, Any]]:
    """Ended attempts, newest first, under the one that runs now."""
    rows = []
    if job.state == State.RUNNING:
        rows.append(
            {
                "number": job.attempt,
                "outcome": show.state_pill(job),
                "worker": job.worker,
                "pid": job.pid,
                "started": show.exact(job.started_at),
                "length": show.duration_text(show.run_duration(job)),
            }
        )
    ended = Attempt.objects.filter(job_id=job.pk).order_by("-number", "-id")[:MOST_ATTEMPTS]
    return rows + [_ended(attempt) for attempt in ended]


def _events(job: Job) -> list[dict[str, Any]]:
    """What happened to it beside its runs, the newest first."""
    newest = JobEvent.objects.filter(job_id=job.pk).order_by("-at", "-id")[:MOST_EVENTS]
    return [{"at": show.exact(event.at), "kind": event.kind.replace("_", " "), "text": event.text} for event in newest]


def _ended(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": show.pill(attempt.outcome, attempt.get_outcome_display().lower()),
        "worker": attempt.worker,
        "pid": attempt.pid,
        "started": show.exact(attempt.started_at),
        "length": show.duration_text(attempt.finished_at - attempt.started_at),
        "error_class": attempt.error_class,
        "message": show.block(attempt.message),
        "traceback": show.block(attempt.traceback),
    }


def _result(job: Job) -> dict[str, str] | None:
    """What the task returned, while it is kept."""
    row = TaskResult.objects.filter(task_id=job.pk).only("status", "result").first()
    if row is None:
        return None
    text = row.result or "null"
    if len(text) <= show.LONGEST_BLOCK:
        with contextlib.suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return {"status": row.status, "text": show.block(text)}


def _relatives(job: Job) -> dict[str, Any]:
    """Parent and root, which may have been pruned, and the jobs that this one sent."""
    wanted = {relation: other for relation, other in (("Parent", job.parent_id), ("Root", job.root_id)) if other}
    wanted = {relation: other for relation, other in wanted.items() if other != job.pk}
    there = {other.pk: other for other in Job.objects.filter(pk__in=wanted.values()).only("id", "task", "state")}
    children = list(
        Job.objects.filter(root_id=job.root_id or job.pk, parent_id=job.pk)
        .only("id", "task", "state", "created_at", "cancel_requested_at")
        .order_by("created_at", "id")[: MOST_CHILDREN + 1]
    )
    return {
        "ancestors": [(relation, other, there.get(other)) for relation, other in wanted.items()],
        "children": [
            {"job": child, "pill": show.state_pill(child), "url": show.job_url(child.pk)}
            for child in children[:MOST_CHILDREN]
        ],
        "more": len(children) > MOST_CHILDREN,
        "links": {other: show.job_url(other) for other in there},
        "most": MOST_CHILDREN,
    }


def _audit(request: HttpRequest, job: Job) -> list[AuditEntry] | None:
    if not request.user.has_perm("jobs.view_auditentry"):
        return None
    entries = AuditEntry.objects.filter(target=job.pk[:255], action__startswith="job.").order_by("-at")
    return list(entries[:MOST_AUDIT_ENTRIES])
