from django.urls import include, path

urlpatterns = [
    path("", include("reminders.api.todo_urls")),
    path("", include("reminders.api.reminder_urls")),
    path("", include("reminders.api.calendar_urls")),
    path("", include("reminders.api.attachment_urls")),
]
