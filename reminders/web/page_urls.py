"""Pages of people's own tasks."""

from django.urls import path

from reminders.web import (
    account_views,
    channel_views,
    deed_views,
    list_views,
    preference_views,
    todo_views,
    transfer_views,
)

app_name = "pages"
urlpatterns = [
    path("", account_views.home, name="home"),
    path("login/", account_views.Login.as_view(), name="login"),
    path("logout/", account_views.logout, name="logout"),
    path("password/", account_views.PasswordChange.as_view(), name="password"),
    path("todos/", list_views.todos, name="todos"),
    path("todos/add/", todo_views.add, name="add"),
    path("todos/new/", todo_views.new, name="new"),
    path("todos/done/", list_views.done, name="done"),
    path("todos/<int:todo_id>/", todo_views.show, name="todo"),
    path("todos/<int:todo_id>/edit/", todo_views.edit, name="edit"),
    path("todos/<int:todo_id>/delete/", todo_views.delete, name="delete"),
    path("todos/<int:todo_id>/complete/", deed_views.complete, name="complete"),
    path("todos/<int:todo_id>/cancel/", deed_views.cancel, name="cancel"),
    path("todos/<int:todo_id>/reopen/", deed_views.reopen, name="reopen"),
    path("todos/<int:todo_id>/snooze/", deed_views.snooze, name="snooze"),
    path("todos/<int:todo_id>/rules/", deed_views.add_rule, name="add_rule"),
    path("todos/<int:todo_id>/rules/<int:rule_id>/delete/", deed_views.delete_rule, name="delete_rule"),
    path("todos/<int:todo_id>/why/", todo_views.why, name="why"),
    path("preferences/", preference_views.preferences, name="preferences"),
    path("preferences/pause/", preference_views.pause, name="pause"),
    path("preferences/rules/", preference_views.add_rule, name="add_default_rule"),
    path("preferences/rules/<int:rule_id>/delete/", preference_views.delete_rule, name="delete_default_rule"),
    path("preferences/channels/", channel_views.add, name="add_channel"),
    path("preferences/channels/<int:channel_id>/<str:deed>/", channel_views.do, name="channel"),
    path("preferences/calendar/", channel_views.renew_feed, name="renew_feed"),
    path("preferences/calendar/end/", channel_views.revoke_feed, name="revoke_feed"),
    path("preferences/calendar/import/", transfer_views.take_in, name="take_in"),
    path("preferences/calendar/tasks.ics", transfer_views.give_out, name="give_out"),
]
