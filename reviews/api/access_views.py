"""/api/v1/github-accesses/ and /api/v1/installations/"""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.pagination import ByName
from jobs.api.rows import (
    ListFilter,
    NewestNumbersFirst,
    RowsView,
    RowView,
    boolean_filter,
    given,
    id_parameter,
    refusals,
    text_filter,
)
from jobs.api.serializers import NothingSerializer
from reviews.api.settings_serializers import (
    AccessSerializer,
    AccessSettingsSerializer,
    CheckedAccessSerializer,
    InstallationSerializer,
)
from reviews.models import GitHubAccess, Installation
from reviews.operators import accesses as operators

_ID = id_parameter("access_id", "access")


class AccessesView(RowsView):
    queryset = GitHubAccess.objects.all()
    filter_backends: tuple[Any, ...] = ()
    pagination_class = ByName
    required_permission = "reviews.view_githubaccess"
    required_to_change = "reviews.add_githubaccess"
    serializer_class = AccessSettingsSerializer

    def get_queryset(self) -> Any:
        return operators.accesses()

    @extend_schema(operation_id="github_accesses_list", responses=AccessSerializer(many=True))
    def get(self, request: Request) -> Response:
        """How we are known at GitHub, by name; of secrets, whether they are entered."""
        return self.page(AccessSerializer)

    @extend_schema(operation_id="github_accesses_create", responses={201: AccessSerializer})
    def post(self, request: Request) -> Response:
        """Enter an App (`client_id`, `private_key`) or a personal token (`kind` token, `token`)."""
        with refusals():
            row = operators.create_access(self.actor, given(request))
        headers = {"Location": reverse("github-access", args=[row.pk], request=request)}
        return Response(AccessSerializer(row).data, status=status.HTTP_201_CREATED, headers=headers)


class AccessView(RowView):
    required_permission = "reviews.view_githubaccess"
    required_by_method: ClassVar[dict[str, str]] = {
        "PATCH": "reviews.change_githubaccess",
        "DELETE": "reviews.delete_githubaccess",
    }
    serializer_class = AccessSettingsSerializer

    @extend_schema(operation_id="github_accesses_show", parameters=[_ID], responses=AccessSerializer)
    def get(self, request: Request, access_id: int) -> Response:
        """One access; of secrets, whether they are entered."""
        return Response(AccessSerializer(operators.find_access(access_id)).data)

    @extend_schema(operation_id="github_accesses_change", parameters=[_ID], responses=AccessSerializer)
    def patch(self, request: Request, access_id: int) -> Response:
        """Change what is named. With another address, secrets have to be entered again."""
        with refusals():
            row = operators.change_access(self.actor, access_id, given(request))
        return Response(AccessSerializer(row).data)

    @extend_schema(operation_id="github_accesses_delete", parameters=[_ID], responses={204: None})
    def delete(self, request: Request, access_id: int) -> Response:
        """Remove an access that no repository uses."""
        with refusals():
            operators.delete_access(self.actor, access_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class CheckEnvironmentView(RowView):
    required_permission = "reviews.change_githubaccess"
    serializer_class = NothingSerializer

    @extend_schema(operation_id="github_accesses_check_environment", responses={200: CheckedAccessSerializer})
    def post(self, request: Request) -> Response:
        """Ask GitHub whether the environment's token works."""
        self.body(request)
        return Response(CheckedAccessSerializer(operators.check_access(self.actor, None)).data)


class CheckAccessView(RowView):
    required_permission = "reviews.change_githubaccess"
    serializer_class = NothingSerializer

    @extend_schema(operation_id="github_accesses_check", parameters=[_ID], responses={200: CheckedAccessSerializer})
    def post(self, request: Request, access_id: int) -> Response:
        """Ask GitHub who we are by this access, and what it lacks; of an App, where it is installed."""
        self.body(request)
        return Response(CheckedAccessSerializer(operators.check_access(self.actor, access_id)).data)


class InstallationFilter(ListFilter):
    listed = operators.installations
    access = text_filter("The access' name.", 100)
    account = text_filter("The account's name.", 100)
    removed = boolean_filter("Whether the App was uninstalled there.")

    class Meta:
        model = Installation
        fields: ClassVar[list[str]] = []


class InstallationsView(RowsView):
    queryset = Installation.objects.all()
    filterset_class = InstallationFilter
    pagination_class = NewestNumbersFirst
    required_permission = "reviews.view_installation"
    serializer_class = InstallationSerializer

    @extend_schema(operation_id="installations_list", responses=InstallationSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Where Apps are installed, the newest first."""
        return self.page(InstallationSerializer)


class InstallationView(RowView):
    required_permission = "reviews.view_installation"
    serializer_class = InstallationSerializer

    @extend_schema(operation_id="installations_show", parameters=[id_parameter("installation_id", "installation")])
    def get(self, request: Request, installation_id: int) -> Response:
        """One installation, with what it was granted."""
        return Response(InstallationSerializer(operators.find_installation(installation_id)).data)
