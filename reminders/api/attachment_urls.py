"""Attached files."""

from django.urls import URLPattern, path

from reminders.api import attachment_views as views

urlpatterns: list[URLPattern] = [
    path("todos/<int:todo_id>/attachments/", views.TodoAttachmentsView.as_view(), name="todo-attachments"),
    path("attachments/", views.AttachmentsView.as_view(), name="attachments"),
    path("attachments/<int:attachment_id>/", views.AttachmentView.as_view(), name="attachment"),
    path("attachments/<int:attachment_id>/content", views.ContentView.as_view(), name="attachment-content"),
    path("attachments/<int:attachment_id>/thumbnail", views.ThumbnailView.as_view(), name="attachment-thumbnail"),
    path("attachments/<int:attachment_id>/rescan/", views.RescanView.as_view(), name="attachment-rescan"),
]
