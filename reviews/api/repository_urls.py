"""Repositories."""

from django.urls import path

from reviews.api import repository_views as views

urlpatterns = [
    path("repositories/", views.RepositoriesView.as_view(), name="repositories"),
    path("repositories/<int:repository_id>/", views.RepositoryView.as_view(), name="repository"),
    path("repositories/<int:repository_id>/import-issues/", views.ImportIssuesView.as_view(), name="import-issues"),
    path("repositories/<int:repository_id>/learn-labels/", views.LearnLabelsView.as_view(), name="learn-labels"),
]
