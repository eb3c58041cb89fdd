"""Reminders, deliveries, channels and preferences."""

from django.urls import URLPattern, path

from reminders.api import channel_views, reminder_views

urlpatterns: list[URLPattern] = [
    path("reminders/", reminder_views.RemindersView.as_view(), name="reminders"),
    path("reminders/explain/", reminder_views.ExplainView.as_view(), name="reminders-explain"),
    path("reminders/scan/", reminder_views.ScanView.as_view(), name="reminders-scan"),
    path("reminders/<int:reminder_id>/", reminder_views.ReminderView.as_view(), name="reminder"),
    path("reminder-deliveries/", reminder_views.DeliveriesView.as_view(), name="reminder-deliveries"),
    path("reminder-deliveries/<int:delivery_id>/", reminder_views.DeliveryView.as_view(), name="reminder-delivery"),
    path(
        "reminder-deliveries/<int:delivery_id>/retry/",
        reminder_views.RetryView.as_view(),
        name="reminder-delivery-retry",
    ),
    path("reminder-preferences/", reminder_views.PreferencesView.as_view(), name="reminder-preferences"),
    path("reminder-preferences/preview/", reminder_views.UpcomingView.as_view(), name="reminder-preview"),
    path("reminder-channels/", channel_views.ChannelsView.as_view(), name="reminder-channels"),
    path("reminder-channels/<int:channel_id>/", channel_views.ChannelView.as_view(), name="reminder-channel"),
    path(
        "reminder-channels/<int:channel_id>/enable/",
        channel_views.EnableChannelView.as_view(),
        name="reminder-channel-enable",
    ),
    path(
        "reminder-channels/<int:channel_id>/ask/",
        channel_views.AskAgainView.as_view(),
        name="reminder-channel-ask",
    ),
    path(
        "reminder-channels/<int:channel_id>/test/",
        channel_views.TestChannelView.as_view(),
        name="reminder-channel-test",
    ),
    path(
        "reminder-channels/<int:channel_id>/new-secret/",
        channel_views.NewSecretView.as_view(),
        name="reminder-channel-new-secret",
    ),
    path("suppressions/", reminder_views.SuppressionsView.as_view(), name="suppressions"),
    path("suppressions/<int:suppression_id>/", reminder_views.SuppressionView.as_view(), name="suppression"),
]
