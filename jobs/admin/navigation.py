"""The sidebar: only what is registered and what the user may see."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django_celery_beat.models import PeriodicTask
from unfold.dataclasses import SearchResult

from jobs.admin.base import DEFAULT_ICON
from jobs.admin.show import job_url
from jobs.models import Job
from jobs.operators.search import is_storable

MOST_FOUND = 5

_GROUPS: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    # title, icon, permission, name of the page
    ("", (("Control room", "dashboard", "", "index"),)),
    (
        "Work",
        (
            ("Jobs", "work_history", "jobs.view_job", "jobs_job_changelist"),
            ("Enqueue", "add_circle", "jobs.enqueue_job", "jobs_job_enqueue"),
            ("Queues", "tune", "jobs.view_job", "jobs_limit_changelist"),
            (
                "Schedules",
                "schedule",
                "django_celery_beat.view_periodictask",
                "django_celery_beat_periodictask_changelist",
            ),
            (
                "Results",
                "task_alt",
                "django_celery_results.view_taskresult",
                "django_celery_results_taskresult_changelist",
            ),
            ("Effects", "outbound", "jobs.view_effect", "jobs_effect_changelist"),
            ("Workers", "memory", "jobs.view_worker", "jobs_worker_changelist"),
            ("Alerts", "notifications", "jobs.view_alert", "jobs_alert_changelist"),
        ),
    ),
    (
        "Access",
        (
            ("Audit log", "history_edu", "jobs.view_auditentry", "jobs_auditentry_changelist"),
            ("API tokens", "key", "jobs.view_apitoken", "jobs_apitoken_changelist"),
            ("Users", "person", "auth.view_user", "auth_user_changelist"),
            ("Groups", "group", "auth.view_group", "auth_group_changelist"),
        ),
    ),
)
#: Apps whose pages stand above; every other app's registered models get a group of their own.
_PLACED = frozenset({"jobs", "django_celery_beat", "django_celery_results", "auth"})


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    groups = [_group(request, title, items) for title, items in _GROUPS]
    groups[2:2] = _other_apps(request)
    return [group for group in groups if group["items"]]


def _group(request: HttpRequest, title: str, items: tuple[tuple[str, str, str, str], ...]) -> dict[str, Any]:
    shown = []
    for label, icon, permission, page in items:
        try:
            link = reverse(f"admin:{page}")
        except NoReverseMatch:
            continue
        if not permission or request.user.has_perm(permission):
            shown.append({"title": label, "icon": icon, "link": link, "active": _is_active(request, link)})
    return {"title": title, "separator": bool(title), "items": shown}


def _other_apps(request: HttpRequest) -> list[dict[str, Any]]:
    groups = []
    for app in admin.site.get_app_list(request):
        if app["app_label"] in _PLACED:
            continue
        items = [
            {
                "title": model["name"],
                "icon": getattr(admin.site.get_model_admin(model["model"]), "sidebar_icon", DEFAULT_ICON),
                "link": model["admin_url"],
                "active": _is_active(request, model["admin_url"]),
            }
            for model in app["models"]
            if model["admin_url"]
        ]
        groups.append({"title": app["name"], "separator": True, "items": items})
    return groups


def _is_active(request: HttpRequest, link: str) -> bool:
    index, enqueue = reverse("admin:index"), reverse("admin:jobs_job_enqueue")
    if link in (index, enqueue) or request.path == enqueue:
        return request.path == link
    return request.path.startswith(link)


def jump(request: HttpRequest, term: str) -> list[SearchResult]:
    """What Ctrl-K finds besides pages: jobs by the beginning of their id, schedules by a part of their name."""
    found: list[SearchResult] = []
    if not is_storable(term):
        return found
    if request.user.has_perm("jobs.view_job"):
        jobs = Job.objects.filter(pk__startswith=term).only("id", "task", "state").order_by("pk")[:MOST_FOUND]
        found += [SearchResult(job.task, f"job {job.pk}, {job.state}", job_url(job.pk), "work_history") for job in jobs]
    if request.user.has_perm("django_celery_beat.view_periodictask"):
        for task in PeriodicTask.objects.filter(name__icontains=term).only("pk", "name", "task")[:MOST_FOUND]:
            link = reverse("admin:django_celery_beat_periodictask_change", args=[task.pk])
            found.append(SearchResult(task.name, f"schedule of {task.task}", link, "schedule"))
    return found


def environment_label(request: HttpRequest) -> list[str] | None:
    """What stands in the header beside the user, so that nobody takes one system for another."""
    if settings.DEBUG:
        return ["Debug", "danger"]
    return ["Embedded", "info"] if settings.EMBEDDED_POSTGRES else None
