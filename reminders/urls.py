from django.urls import include, path

urlpatterns = [
    path("", include("reminders.web.page_urls")),
    path("", include("reminders.web.link_urls")),
    path("", include("reminders.web.calendar_urls")),
    path("", include("reminders.web.file_urls")),
]
