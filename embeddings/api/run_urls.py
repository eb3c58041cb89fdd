"""Runs that embed, and what they set aside."""

from django.urls import path

from embeddings.api import run_views

urlpatterns = [
    path("runs/", run_views.RunsView.as_view(), name="runs"),
    path("runs/<int:run_id>/", run_views.RunView.as_view(), name="run"),
    path("runs/<int:run_id>/cancel/", run_views.CancelRunView.as_view(), name="run-cancel"),
    path("set-aside/", run_views.SetAsideView.as_view(), name="set-aside"),
    path("set-aside/retry/", run_views.TryAgainView.as_view(), name="set-aside-retry"),
]
