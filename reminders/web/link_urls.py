"""What links in mails lead to."""

from django.urls import path

from reminders.web import link_views

urlpatterns = [
    path("reminders/do/<str:token>/", link_views.act, name="reminder-link"),
    path("reminders/unsubscribe/<str:token>/", link_views.unsubscribe, name="reminder-unsubscribe"),
    path("reminders/subscribe/<str:token>/", link_views.subscribe, name="reminder-subscribe"),
    path("reminders/confirm/<str:token>/", link_views.confirm, name="reminder-confirm"),
]
