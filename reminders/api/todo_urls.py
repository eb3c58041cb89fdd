"""Tasks, projects and rules."""

from django.urls import URLPattern, path

from reminders.api import rule_views, todo_views

urlpatterns: list[URLPattern] = [
    path("todos/", todo_views.TodosView.as_view(), name="todos"),
    path("todos/bulk/", todo_views.BulkView.as_view(), name="todos-bulk"),
    path("todos/<int:todo_id>/", todo_views.TodoView.as_view(), name="todo"),
    path("todos/<int:todo_id>/complete/", todo_views.CompleteView.as_view(), name="todo-complete"),
    path("todos/<int:todo_id>/cancel/", todo_views.CancelView.as_view(), name="todo-cancel"),
    path("todos/<int:todo_id>/reopen/", todo_views.ReopenView.as_view(), name="todo-reopen"),
    path("todos/<int:todo_id>/snooze/", todo_views.SnoozeView.as_view(), name="todo-snooze"),
    path("todos/<int:todo_id>/rules/", rule_views.TodoRulesView.as_view(), name="todo-rules"),
    path("reminder-rules/", rule_views.DefaultRulesView.as_view(), name="reminder-rules"),
    path("reminder-rules/<int:rule_id>/", rule_views.RuleView.as_view(), name="reminder-rule"),
    path("reminder-rules/<int:rule_id>/enable/", rule_views.EnableRuleView.as_view(), name="reminder-rule-enable"),
    path("projects/", rule_views.ProjectsView.as_view(), name="projects"),
    path("projects/<int:project_id>/", rule_views.ProjectView.as_view(), name="project"),
]
