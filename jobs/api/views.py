"""What the API's views share: strict parameters, and who acts."""

from typing import Any, ClassVar

from django_filters import MultipleChoiceFilter
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers as fields
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.permissions import NamedPermission
from jobs.operators.actors import Actor


class LengthRequired(APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "Send the body with a Content-Length, not in chunks."
    default_code = "length-required"


class ApiView(GenericAPIView[Any]):
    """A view that is closed unless it names a permission, and knows which query parameters it takes."""

    permission_classes = (NamedPermission,)
    filter_backends: tuple[Any, ...] = ()
    required_permission = "jobs.view_job"
    #: Query parameters besides those of the filters and pages.
    parameters: ClassVar[frozenset[str]] = frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "Transfer-Encoding" in request.headers and "Content-Length" not in request.headers:
            # Django would read such a body as empty, and so do something else than was asked for.
            raise LengthRequired
        self._check_parameters(request)

    def _check_parameters(self, request: Request) -> None:
        """Raises ValidationError for one that is not known, or given again where the last would count alone."""
        filters = self._filters()
        known = {"format", *self.parameters, *filters, *self._page_names()}
        choices = ", ".join(sorted(known - {"format"})) or "none"
        wrong = {}
        for name, values in request.query_params.lists():
            if name not in known:
                wrong[name[:100]] = [f"unknown parameter; choose from: {choices}"]
            elif len(values) > 1 and not isinstance(filters.get(name), MultipleChoiceFilter):
                wrong[name] = [f"is given {len(values)} times; it takes one value"]
        if wrong:
            raise ValidationError(dict(list(wrong.items())[:20]))

    def _filters(self) -> dict[str, Any]:
        filters = getattr(self, "filterset_class", None)
        return dict(filters.base_filters) if filters is not None else {}

    def _page_names(self) -> list[str]:
        pages = self.pagination_class
        return ["cursor", "page_size"] if pages is not None else []

    @property
    def actor(self) -> Actor:
        return Actor.of_user(self.request.user, via="api")

    def body(self, request: Request, *, partial: bool = False) -> dict[str, Any]:
        """The request's body, checked by the view's serializer; `partial`: no field need be there.

        Raises ValidationError.
        """
        serializer = self.get_serializer(data=request.data, partial=partial)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


def whole_list(rows: list[Any]) -> Response:
    """A list that is short by nature, in the shape of a page."""
    return Response({"next": None, "previous": None, "results": rows})


def page_of(serializer: Any, name: str) -> Any:
    """How such a list is described. name: of the page, unique in the whole API."""
    return inline_serializer(
        name,
        {
            "next": fields.URLField(allow_null=True),
            "previous": fields.URLField(allow_null=True),
            "results": serializer(many=True),
        },
    )
