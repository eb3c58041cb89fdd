"""/api/v1/repositories/"""

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.problems import add_meaning
from jobs.api.rows import (
    CONFLICT,
    ListFilter,
    RowsView,
    RowView,
    boolean_filter,
    given,
    id_parameter,
    refusals,
    text_filter,
)
from jobs.api.serializers import NothingSerializer
from reviews.api.base import ByFullName
from reviews.api.review_serializers import (
    NewRepositorySerializer,
    RepositorySerializer,
    RepositorySettingsSerializer,
)
from reviews.api.settings_serializers import SentSerializer
from reviews.models import Repository
from reviews.operators import issue_learning
from reviews.operators import repositories as operators
from reviews.services.issue_importing import UnknownRepository

add_meaning(UnknownRepository, 409, "repository-unknown")

_ID = id_parameter("repository_id", "repository")


class RepositoryFilter(ListFilter):
    listed = operators.repositories
    search = text_filter("A part of owner/name.")
    enabled = boolean_filter("Whether its pull requests are reviewed.")
    provider = text_filter("Who reviews.", 64)
    removed = boolean_filter("Whether it is gone from GitHub, or we from it.")

    class Meta:
        model = Repository
        fields: ClassVar[list[str]] = []


class RepositoriesView(RowsView):
    queryset = Repository.objects.all()
    filterset_class = RepositoryFilter
    pagination_class = ByFullName
    required_permission = "reviews.view_repository"
    required_to_change = "reviews.add_repository"
    serializer_class = NewRepositorySerializer

    @extend_schema(operation_id="repositories_list", responses=RepositorySerializer(many=True))
    def get(self, request: Request) -> Response:
        """Repositories by name, with how each is reviewed."""
        return self.page(RepositorySerializer)

    @extend_schema(operation_id="repositories_create", responses={201: RepositorySerializer}, filters=False)
    def post(self, request: Request) -> Response:
        """Enter a repository by its name, before GitHub tells of it."""
        settings = given(request)
        with refusals():
            row = operators.create_repository(self.actor, settings.pop("full_name", ""), settings)
        headers = {"Location": reverse("repository", args=[row.pk], request=request)}
        return Response(RepositorySerializer(row).data, status=status.HTTP_201_CREATED, headers=headers)


class RepositoryView(RowView):
    required_permission = "reviews.view_repository"
    required_by_method: ClassVar[dict[str, str]] = {
        "PATCH": "reviews.change_repository",
        "DELETE": "reviews.delete_repository",
    }
    serializer_class = RepositorySettingsSerializer

    @extend_schema(operation_id="repositories_show", parameters=[_ID], responses=RepositorySerializer)
    def get(self, request: Request, repository_id: int) -> Response:
        """One repository, with how it is reviewed."""
        return Response(RepositorySerializer(operators.find_repository(repository_id)).data)

    @extend_schema(operation_id="repositories_change", parameters=[_ID], responses=RepositorySerializer)
    def patch(self, request: Request, repository_id: int) -> Response:
        """Change how a repository is reviewed; what is left out stays."""
        with refusals():
            row = operators.change_repository(self.actor, repository_id, given(request))
        return Response(RepositorySerializer(row).data)

    @extend_schema(operation_id="repositories_delete", parameters=[_ID], responses={204: None})
    def delete(self, request: Request, repository_id: int) -> Response:
        """Forget a repository, with its pull requests, reviews and issues."""
        operators.delete_repository(self.actor, repository_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ImportIssuesView(RowView):
    required_permission = issue_learning.PERMISSION
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="repositories_import_issues", parameters=[_ID], responses={202: SentSerializer, **CONFLICT}
    )
    def post(self, request: Request, repository_id: int) -> Response:
        """Have a repository's issues fetched from GitHub, and its labels learned from them."""
        self.body(request)
        job = issue_learning.import_issues(self.actor, repository_id)
        return Response({"job": job}, status=status.HTTP_202_ACCEPTED)


class LearnLabelsView(RowView):
    required_permission = issue_learning.PERMISSION
    serializer_class = NothingSerializer

    @extend_schema(operation_id="repositories_learn_labels", parameters=[_ID], responses={202: SentSerializer})
    def post(self, request: Request, repository_id: int) -> Response:
        """Have a repository's labels learned from its issues here."""
        self.body(request)
        job = issue_learning.learn_labels(self.actor, repository_id)
        return Response({"job": job}, status=status.HTTP_202_ACCEPTED)
