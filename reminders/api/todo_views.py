"""/api/v1/todos/"""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.rows import (
    CONFLICT,
    IDEMPOTENCY,
    NewestRowsFirst,
    boolean_filter,
    choice_filter,
    given,
    id_parameter,
    refusals,
    text_filter,
    time_filter,
)
from jobs.api.serializers import NothingSerializer
from jobs.operators.lookups import NotHere
from reminders.api.common import ActorFilter, PeopleRowsView, PeopleRowView, made_headers
from reminders.api.todo_serializers import (
    BulkSerializer,
    CompletedSerializer,
    EachSerializer,
    NewTodoSerializer,
    SnoozedSerializer,
    SnoozeSerializer,
    TodoSerializer,
    TodoSettingsSerializer,
)
from reminders.models import Todo
from reminders.operators import todos as operators
from reminders.operators.todo_values import PRIORITY_WORDS

_ID = id_parameter("todo_id", "task")
_ORDER = OpenApiParameter(
    "order", str, enum=["created", "due"], description="created: the newest first. due: those with a date, by it."
)


class TodoFilter(ActorFilter):
    listed = operators.todos
    state = choice_filter("state", [(state, state) for state in operators.STATES])
    overdue = boolean_filter("Open, and due before now.")
    mine = boolean_filter("Assigned to you, or made by you and assigned to nobody.")
    due_after = time_filter()
    due_before = time_filter()
    project = text_filter("The project's name.")
    creator = text_filter("An account's name.", 150)
    assignee = text_filter("An account's name.", 150)
    watcher = text_filter("An account's name.", 150)
    tag = text_filter("A tag that the task has.", 50)
    priority = choice_filter("priority", [(word, word) for word in PRIORITY_WORDS])
    search = text_filter('Words of title and notes; "a phrase", -without.')

    class Meta:
        model = Todo
        fields: ClassVar[list[str]] = []


class ByDueDate(NewestRowsFirst):
    ordering = ("due_at", "id")


class TodosView(PeopleRowsView):
    queryset = Todo.objects.all()
    filterset_class = TodoFilter
    parameters = frozenset({"order"})
    serializer_class = NewTodoSerializer

    @extend_schema(operation_id="todos_list", parameters=[_ORDER], responses=TodoSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Your tasks, the newest first; of operators with `reminders.view_todo`, all."""
        order = request.query_params.get("order", "created")
        if order not in ("created", "due"):
            raise ValidationError({"order": [f"{order[:40]!r} is unknown; choose from: created, due"]})
        rows = self.filter_queryset(self.get_queryset())
        if order == "due":
            self.pagination_class = ByDueDate
            rows = rows.filter(due_at__isnull=False)
        return self.get_paginated_response(TodoSerializer(self.paginate_queryset(rows), many=True).data)

    @extend_schema(
        operation_id="todos_create", parameters=[IDEMPOTENCY], responses={201: TodoSerializer}, filters=False
    )
    def post(self, request: Request) -> Response:
        """Add a task, perhaps with rules of its own."""

        def make() -> int:
            return operators.create_todo(self.actor, given(request)).pk

        with refusals():
            todo_id, replayed = self.made_once(request, make)
        todo = _shown(operators.todos(self.actor).filter(pk=todo_id).first(), todo_id)
        headers = made_headers(reverse("todo", args=[todo_id], request=request), replayed)
        return Response(TodoSerializer(todo).data, status=status.HTTP_201_CREATED, headers=headers)


class TodoView(PeopleRowView):
    serializer_class = TodoSettingsSerializer

    @extend_schema(operation_id="todos_show", parameters=[_ID], responses=TodoSerializer)
    def get(self, request: Request, todo_id: int) -> Response:
        """One task."""
        return Response(TodoSerializer(operators.find_todo(self.actor, todo_id)).data)

    @extend_schema(operation_id="todos_change", parameters=[_ID], responses=TodoSerializer)
    def patch(self, request: Request, todo_id: int) -> Response:
        """Change what is named. After another date, reminders that fired before fire again."""
        with refusals():
            todo = operators.change_todo(self.actor, todo_id, given(request))
        return Response(TodoSerializer(todo).data)

    @extend_schema(operation_id="todos_delete", parameters=[_ID], responses={204: None})
    def delete(self, request: Request, todo_id: int) -> Response:
        """Delete a task that you made, with all that belongs to it."""
        operators.delete_todo(self.actor, todo_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class CompleteView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(operation_id="todos_complete", parameters=[_ID], responses={200: CompletedSerializer, **CONFLICT})
    def post(self, request: Request, todo_id: int) -> Response:
        """It is done. One that repeats makes its successor, due from now on."""
        self.body(request)
        return self.close(todo_id, cancelled=False)

    def close(self, todo_id: int, *, cancelled: bool) -> Response:
        deed = operators.cancel_todo if cancelled else operators.complete_todo
        completed = deed(self.actor, todo_id)
        successor = completed.successor.pk if completed.successor is not None else None
        shown = dict(TodoSerializer(operators.find_todo(self.actor, todo_id)).data)
        return Response({**shown, "successor": successor, "skipped": completed.skipped})


class CancelView(CompleteView):
    @extend_schema(operation_id="todos_cancel", parameters=[_ID], responses={200: CompletedSerializer, **CONFLICT})
    def post(self, request: Request, todo_id: int) -> Response:
        """Give it up: closed, and not done; nothing follows it."""
        self.body(request)
        return self.close(todo_id, cancelled=True)


class ReopenView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(operation_id="todos_reopen", parameters=[_ID], responses=TodoSerializer)
    def post(self, request: Request, todo_id: int) -> Response:
        """Open a closed task again; of its reminders, those are planned that lie ahead."""
        self.body(request)
        operators.reopen_todo(self.actor, todo_id)
        return Response(TodoSerializer(operators.find_todo(self.actor, todo_id)).data)


class SnoozeView(PeopleRowView):
    serializer_class = SnoozeSerializer

    @extend_schema(operation_id="todos_snooze", parameters=[_ID], responses={200: SnoozedSerializer, **CONFLICT})
    def post(self, request: Request, todo_id: int) -> Response:
        """Be reminded of it later, by your own clock, and of nothing of it before."""
        asked = self.body(request)
        with refusals():
            snoozed = operators.snooze_todo(self.actor, todo_id, asked["until"], asked.get("person", ""))
        return Response(SnoozedSerializer({"todo": todo_id, "until": snoozed.until, "people": snoozed.people}).data)


class BulkView(PeopleRowView):
    serializer_class = BulkSerializer

    @extend_schema(operation_id="todos_bulk", responses={200: OpenApiResponse(EachSerializer, "What was done.")})
    def post(self, request: Request) -> Response:
        """Do the same to several tasks, each by itself; what is refused stops no other."""
        asked = self.body(request)
        ids, action = asked["ids"], asked["action"]
        needed: dict[str, Any] = {"snooze": "until", "assign": "people"}
        if action in needed and not asked.get(needed[action]):
            raise ValidationError({needed[action]: [f"is missing; {action} needs it"]})
        with refusals():
            if action == "snooze":
                outcome = operators.snooze_each(self.actor, ids, asked["until"])
            elif action == "assign":
                outcome = operators.assign_each(self.actor, ids, asked["people"])
            else:
                deed = operators.complete_each if action == "complete" else operators.delete_each
                outcome = deed(self.actor, ids)
        return Response(EachSerializer(outcome).data)


def _shown(todo: Todo | None, todo_id: int) -> Todo:
    """What was made under a key may have been deleted since, or made for others."""
    found = todo or Todo.objects.defer("search").filter(pk=todo_id).first()
    if found is None:
        raise NotHere(f"task {todo_id}, which was made under this Idempotency-Key, has been deleted")
    return found
