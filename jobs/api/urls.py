from django.urls import URLPattern, path

from jobs.api import (
    alert_views,
    effect_views,
    job_views,
    limit_views,
    schema,
    system_views,
    token_views,
    workflow_views,
)


def _scoped(scope: str, prefix: str) -> list[URLPattern]:
    """Pause, resume and limits of a queue, a task, or everything (whose limits are those of `limits/` itself)."""
    options = {"scope": scope or "everything"}
    word = scope or "everything"
    paths = [
        path(f"{prefix}pause/", limit_views.PauseView.as_view(**options), name=f"{word}-pause"),
        path(f"{prefix}resume/", limit_views.ResumeView.as_view(**options), name=f"{word}-resume"),
    ]
    if scope:
        paths.append(path(f"{prefix}limits/", limit_views.ScopedLimitsView.as_view(**options), name=f"{word}-limits"))
    return paths


# An id may hold any character, a slash too; so the paths that go on after it come first.
urlpatterns = [
    path("jobs/", job_views.JobsView.as_view(), name="jobs"),
    path("jobs/<path:job_id>/retry/", job_views.RetryView.as_view(), name="job-retry"),
    path("jobs/<path:job_id>/cancel/", job_views.CancelView.as_view(), name="job-cancel"),
    path("jobs/<path:job_id>/discard/", job_views.DiscardView.as_view(), name="job-discard"),
    path("jobs/<path:job_id>/workflow/", workflow_views.WorkflowView.as_view(), name="job-workflow"),
    path("jobs/<path:job_id>/", job_views.JobView.as_view(), name="job"),
    path("tasks/", system_views.TasksView.as_view(), name="tasks"),
    path("queues/", system_views.QueuesView.as_view(), name="queues"),
    path("limits/", limit_views.LimitsView.as_view(), name="limits"),
    *_scoped("", "limits/"),
    *_scoped("queue", "queues/<str:name>/"),
    *_scoped("task", "tasks/<str:name>/"),
    path("workers/", system_views.WorkersView.as_view(), name="workers"),
    path("schedules/", system_views.SchedulesView.as_view(), name="schedules"),
    path("schedules/<int:schedule_id>/run/", system_views.ScheduleRunView.as_view(), name="schedule-run"),
    path(
        "schedules/<int:schedule_id>/upcoming/",
        system_views.ScheduleUpcomingView.as_view(),
        name="schedule-upcoming",
    ),
    path("schedules/<int:schedule_id>/ticks/", system_views.ScheduleTicksView.as_view(), name="schedule-ticks"),
    path("schedules/<int:schedule_id>/", system_views.ScheduleView.as_view(), name="schedule"),
    path("effects/", effect_views.EffectsView.as_view(), name="effects"),
    path("effects/<int:effect_id>/decide/", effect_views.DecideView.as_view(), name="effect-decide"),
    path("effects/<int:effect_id>/", effect_views.EffectView.as_view(), name="effect"),
    path("alerts/", alert_views.AlertsView.as_view(), name="alerts"),
    path("alerts/<int:alert_id>/enable/", alert_views.SwitchView.as_view(enabled=True), name="alert-enable"),
    path("alerts/<int:alert_id>/disable/", alert_views.SwitchView.as_view(enabled=False), name="alert-disable"),
    path("alerts/<int:alert_id>/test/", alert_views.TryView.as_view(), name="alert-test"),
    path("alerts/<int:alert_id>/secret/", alert_views.SecretView.as_view(), name="alert-secret"),
    path("alerts/<int:alert_id>/events/", alert_views.EventsView.as_view(), name="alert-events"),
    path("alerts/<int:alert_id>/", alert_views.AlertView.as_view(), name="alert"),
    path("tokens/", token_views.TokensView.as_view(), name="tokens"),
    path("tokens/<int:token_id>/", token_views.TokenView.as_view(), name="token"),
    path("schema/", schema.SchemaView.as_view(), name="schema"),
    path("docs/", schema.DocsView.as_view(), name="docs"),
]
