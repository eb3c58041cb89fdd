"""Changing a collection's model, its statistics, and the clean-up."""

from django.urls import URLPattern, path

from embeddings.api import migration_views as views

_MIGRATION = "collections/<str:name>/migration/"

urlpatterns: list[URLPattern] = [
    path(_MIGRATION, views.MigrationView.as_view(), name="migration"),
    path(f"{_MIGRATION}compare/", views.CompareView.as_view(), name="migration-compare"),
    path(f"{_MIGRATION}again/", views.EmbedAgainView.as_view(), name="migration-again"),
    path(f"{_MIGRATION}switch/", views.SwitchView.as_view(), name="migration-switch"),
    path(f"{_MIGRATION}back/", views.BackView.as_view(), name="migration-back"),
    path(f"{_MIGRATION}close/", views.CloseView.as_view(), name="migration-close"),
    path("collections/<str:name>/statistics/", views.StatisticsView.as_view(), name="collection-statistics"),
    path("indexes/clean-up/", views.CleanUpView.as_view(), name="indexes-clean-up"),
]
