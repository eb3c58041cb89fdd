"""/api/v1/runs/ and /api/v1/set-aside/"""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from embeddings import errors
from embeddings.api.run_serializers import (
    EmbeddingRunDetailSerializer,
    EmbeddingRunSerializer,
    SetAsideSerializer,
    StartSerializer,
    TriedAgainSerializer,
    TryAgainSerializer,
    shown_run,
    shown_runs,
)
from embeddings.models import EmbeddingRun, RunKind, RunState, SetAside
from embeddings.services import collections, run_lists
from jobs.api.pagination import NewestFirst
from jobs.api.problems import add_meaning
from jobs.api.serializers import StrictSerializer
from jobs.api.views import ApiView

add_meaning(EmbeddingRun.DoesNotExist, 404, "not-found")
add_meaning(collections.UnknownCollection, 404, "unknown-collection")
add_meaning(errors.RunRefused, 400, "run-refused", "#/encoder")
add_meaning(errors.RunNotChanged, 409, "run-not-changed")

_ID = OpenApiParameter("run_id", int, OpenApiParameter.PATH, description="The run's number.")


class NewestRunsFirst(NewestFirst):
    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            if not (position[1].isascii() and position[1].isdigit() and int(position[1]) <= run_lists.LARGEST_ID):
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
            position[1] = int(position[1])
        return backwards, position


class RunFilter(filters.FilterSet):
    """An unknown state or kind is refused rather than finding nothing."""

    collection = filters.CharFilter(field_name="collection__name", max_length=63, help_text="The collection's name.")
    state = filters.MultipleChoiceFilter(
        choices=RunState.choices,
        help_text="May be given several times.",
        error_messages={"invalid_choice": f"unknown state %(value)r; choose from: {', '.join(RunState.values)}"},
    )
    kind = filters.MultipleChoiceFilter(
        choices=RunKind.choices,
        help_text="May be given several times.",
        error_messages={"invalid_choice": f"unknown kind %(value)r; choose from: {', '.join(RunKind.values)}"},
    )

    class Meta:
        model = EmbeddingRun
        fields: ClassVar[list[str]] = []


class RunsView(ApiView):
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = RunFilter
    pagination_class = NewestRunsFirst
    required_permission = "embeddings.view_embeddingrun"
    required_to_change = run_lists.MAY_START
    queryset = EmbeddingRun.objects.none()
    serializer_class = StartSerializer

    def get_queryset(self) -> QuerySet[EmbeddingRun]:
        return run_lists.runs(self.request.user)

    @extend_schema(operation_id="runs_list", responses=EmbeddingRunSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest runs first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response(shown_runs(list(page)))

    @extend_schema(operation_id="runs_start", responses={201: EmbeddingRunDetailSerializer})
    def post(self, request: Request) -> Response:
        """Have a collection embedded, or join the run that does it already. The index is left as it is."""
        from embeddings.services import runs

        wanted = self.body(request)
        collection = collections.find(wanted["collection"], request.user)
        run = runs.start(self.actor, collection, encoder=wanted["encoder"])
        return Response(shown_run(run_lists.find_run(run.pk)), status=status.HTTP_201_CREATED)


class RunView(ApiView):
    pagination_class = None
    required_permission = "embeddings.view_embeddingrun"
    serializer_class = EmbeddingRunDetailSerializer

    @extend_schema(operation_id="runs_show", parameters=[_ID], responses=EmbeddingRunDetailSerializer)
    def get(self, request: Request, run_id: int) -> Response:
        """One run, with how fast it is and what is out."""
        return Response(shown_run(run_lists.find_run(run_id, request.user)))


class CancelRunView(ApiView):
    pagination_class = None
    required_permission = run_lists.MAY_START
    serializer_class = StrictSerializer

    @extend_schema(
        operation_id="runs_cancel",
        parameters=[_ID],
        request=None,
        responses={200: EmbeddingRunDetailSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, run_id: int) -> Response:
        """End a run. What it has embedded stays, and batches that are out are the last."""
        from embeddings.services import runs

        return Response(shown_run(runs.cancel(self.actor, run_id)))


class SetAsideFilter(filters.FilterSet):
    collection = filters.CharFilter(field_name="collection__name", max_length=63, help_text="The collection's name.")

    class Meta:
        model = SetAside
        fields: ClassVar[list[str]] = []


class SetAsideView(ApiView):
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = SetAsideFilter
    pagination_class = NewestRunsFirst
    required_permission = "embeddings.view_setaside"
    queryset = SetAside.objects.none()
    serializer_class = SetAsideSerializer

    def get_queryset(self) -> QuerySet[SetAside]:
        return run_lists.set_aside(self.request.user)

    @extend_schema(operation_id="set_aside_list", responses=SetAsideSerializer(many=True))
    def get(self, request: Request) -> Response:
        """What could not be embedded, and why, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(SetAsideSerializer(page, many=True).data)


class TryAgainView(ApiView):
    pagination_class = None
    required_permission = run_lists.MAY_START
    serializer_class = TryAgainSerializer

    @extend_schema(operation_id="set_aside_retry", responses={200: TriedAgainSerializer})
    def post(self, request: Request) -> Response:
        """Have what was set aside tried by a new run."""
        from embeddings.services import runs

        wanted = self.body(request)
        collection = collections.find(wanted["collection"], request.user)
        tried = runs.try_again(self.actor, collection, wanted.get("ids"))
        return Response({"count": tried.count, "run": None if tried.run is None else tried.run.pk})
