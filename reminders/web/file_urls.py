"""Attached files."""

from django.urls import URLPattern, path

from reminders.web import file_views as views

urlpatterns: list[URLPattern] = [
    path("files/of-task/<int:todo_id>/", views.upload, name="file-upload"),
    path("files/<int:attachment_id>/", views.content, name="file-content"),
    path("files/<int:attachment_id>/thumbnail", views.thumbnail, name="file-thumbnail"),
    path("files/<int:attachment_id>/delete/", views.delete, name="file-delete"),
]
