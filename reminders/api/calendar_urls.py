"""Calendars in and out."""

from django.urls import URLPattern, path

from reminders.api import calendar_views

urlpatterns: list[URLPattern] = [
    path("todos/import/", calendar_views.ImportView.as_view(), name="todos-import"),
    path("todos/export.ics", calendar_views.ExportView.as_view(), name="todos-export"),
    path("calendar-feed/", calendar_views.FeedView.as_view(), name="calendar-feed"),
]
