"""/api/v1/todos/{id}/rules/, /api/v1/reminder-rules/ and /api/v1/projects/"""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.pagination import ByName
from jobs.api.rows import IDEMPOTENCY, boolean_filter, given, id_parameter, refusals, text_filter
from jobs.api.serializers import NothingSerializer
from jobs.api.views import page_of, whole_list
from reminders.api.common import ActorFilter, PeopleRowsView, PeopleRowView, made_headers
from reminders.api.todo_serializers import (
    DefaultRuleSettingsSerializer,
    ProjectSerializer,
    ProjectSettingsSerializer,
    RuleSerializer,
    RuleSettingsSerializer,
)
from reminders.models import Project, ReminderRule
from reminders.operators import projects, rules

_TODO = id_parameter("todo_id", "task")
_RULE = id_parameter("rule_id", "rule")
_PROJECT = id_parameter("project_id", "project")
USER = OpenApiParameter("user", str, description="An account's name; your own if left out. For others: operators.")


class TodoRulesView(PeopleRowsView):
    queryset = ReminderRule.objects.all()
    filter_backends: tuple[Any, ...] = ()
    pagination_class: Any = None
    serializer_class = RuleSettingsSerializer

    @extend_schema(operation_id="todos_rules", parameters=[_TODO], responses=page_of(RuleSerializer, "TodoRulePage"))
    def get(self, request: Request, todo_id: int) -> Response:
        """A task's own rules; up to 20."""
        return whole_list(list(RuleSerializer(rules.rules_of_todo(self.actor, todo_id), many=True).data))

    @extend_schema(operation_id="todos_add_rule", parameters=[_TODO, IDEMPOTENCY], responses={201: RuleSerializer})
    def post(self, request: Request, todo_id: int) -> Response:
        """Remind of a task once more."""
        with refusals():
            rule_id, replayed = self.made_once(request, lambda: rules.add_rule(self.actor, todo_id, given(request)).pk)
        return _made(self, request, rule_id, replayed)


class DefaultRulesView(PeopleRowsView):
    queryset = ReminderRule.objects.all()
    filter_backends: tuple[Any, ...] = ()
    pagination_class: Any = None
    parameters = frozenset({"user"})
    serializer_class = DefaultRuleSettingsSerializer

    @extend_schema(
        operation_id="reminder_rules_list", parameters=[USER], responses=page_of(RuleSerializer, "DefaultRulePage")
    )
    def get(self, request: Request) -> Response:
        """Your default rules: for tasks that are assigned to you and have no rules of their own for you."""
        found = rules.default_rules(self.actor, request.query_params.get("user", ""))
        return whole_list(list(RuleSerializer(found, many=True).data))

    @extend_schema(
        operation_id="reminder_rules_create", parameters=[USER, IDEMPOTENCY], responses={201: RuleSerializer}
    )
    def post(self, request: Request) -> Response:
        """Add a default rule."""
        user = request.query_params.get("user", "")
        with refusals():
            rule_id, replayed = self.made_once(
                request, lambda: rules.add_default_rule(self.actor, given(request), user).pk
            )
        return _made(self, request, rule_id, replayed)


def _made(view: PeopleRowsView, request: Request, rule_id: int, replayed: bool) -> Response:
    headers = made_headers(reverse("reminder-rule", args=[rule_id], request=request), replayed)
    rule = rules.find_rule(view.actor, rule_id)
    return Response(RuleSerializer(rule).data, status=status.HTTP_201_CREATED, headers=headers)


class RuleView(PeopleRowView):
    serializer_class = RuleSettingsSerializer

    @extend_schema(operation_id="reminder_rules_show", parameters=[_RULE], responses=RuleSerializer)
    def get(self, request: Request, rule_id: int) -> Response:
        """A rule of a task, or a default rule."""
        return Response(RuleSerializer(rules.find_rule(self.actor, rule_id)).data)

    @extend_schema(operation_id="reminder_rules_change", parameters=[_RULE], responses=RuleSerializer)
    def patch(self, request: Request, rule_id: int) -> Response:
        """Change what is named; one that was set aside is tried again."""
        with refusals():
            rule = rules.change_rule(self.actor, rule_id, given(request))
        return Response(RuleSerializer(rule).data)

    @extend_schema(operation_id="reminder_rules_delete", parameters=[_RULE], responses={204: None})
    def delete(self, request: Request, rule_id: int) -> Response:
        """Delete a rule, and what is planned by it."""
        rules.delete_rule(self.actor, rule_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class EnableRuleView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(operation_id="reminder_rules_enable", parameters=[_RULE], responses=RuleSerializer)
    def post(self, request: Request, rule_id: int) -> Response:
        """Try a rule again that was set aside."""
        self.body(request)
        return Response(RuleSerializer(rules.enable_rule(self.actor, rule_id)).data)


class ProjectFilter(ActorFilter):
    listed = projects.projects
    search = text_filter("A part of the name.")
    member = text_filter("An account's name.", 150)
    archived = boolean_filter("Whether it is archived.")

    class Meta:
        model = Project
        fields: ClassVar[list[str]] = []


class ProjectsView(PeopleRowsView):
    queryset = Project.objects.all()
    filterset_class = ProjectFilter
    pagination_class = ByName
    serializer_class = ProjectSettingsSerializer

    @extend_schema(operation_id="projects_list", responses=ProjectSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Your projects by name; of operators with `reminders.view_project`, all."""
        return self.page(ProjectSerializer)

    @extend_schema(
        operation_id="projects_create", parameters=[IDEMPOTENCY], responses={201: ProjectSerializer}, filters=False
    )
    def post(self, request: Request) -> Response:
        """Make a project, of which you are a member."""
        with refusals():
            project_id, replayed = self.made_once(
                request, lambda: projects.create_project(self.actor, given(request)).pk
            )
        shown = ProjectSerializer(projects.find_project(self.actor, project_id)).data
        headers = made_headers(reverse("project", args=[project_id], request=request), replayed)
        return Response(shown, status=status.HTTP_201_CREATED, headers=headers)


class ProjectView(PeopleRowView):
    serializer_class = ProjectSettingsSerializer

    @extend_schema(operation_id="projects_show", parameters=[_PROJECT], responses=ProjectSerializer)
    def get(self, request: Request, project_id: int) -> Response:
        """One project."""
        return Response(ProjectSerializer(projects.find_project(self.actor, project_id)).data)

    @extend_schema(operation_id="projects_change", parameters=[_PROJECT], responses=ProjectSerializer)
    def patch(self, request: Request, project_id: int) -> Response:
        """Change what is named: name, members, archived."""
        with refusals():
            project = projects.change_project(self.actor, project_id, given(request))
        return Response(ProjectSerializer(project).data)

    @extend_schema(operation_id="projects_delete", parameters=[_PROJECT], responses={204: None})
    def delete(self, request: Request, project_id: int) -> Response:
        """Delete a project; its tasks stay. For operators."""
        projects.delete_project(self.actor, project_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
