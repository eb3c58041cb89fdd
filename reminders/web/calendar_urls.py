"""Calendar feeds."""

from django.urls import URLPattern, path

from reminders.web.calendar_views import feed

urlpatterns: list[URLPattern] = [path("calendar/<str:secret>.ics", feed, name="calendar-feed-file")]
