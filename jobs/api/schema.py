"""The OpenAPI document, and the pages that show it."""

from typing import Any

from csp.decorators import csp_update
from django.contrib.auth.mixins import LoginRequiredMixin
from django.utils.decorators import method_decorator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import IsAuthenticated

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri", "example": "urn:switchyard:problem:unknown-task"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "What is wrong where: a JSON pointer into the body, or the name of a parameter.",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: every operation may answer with a problem."""
    for component in result["components"]["schemas"].values():
        if "oneOf" in component:
            # A whole job has all that the brief form has, so it is both.
            component["anyOf"] = component.pop("oneOf")
    result["components"]["schemas"]["Problem"] = _PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {"description": "A problem.", "content": content}
    return result


class SchemaView(SpectacularAPIView):
    """JSON unless YAML is asked for (`?format=yaml`)."""

    permission_classes = (IsAuthenticated,)
    renderer_classes = [OpenApiJsonRenderer2, OpenApiJsonRenderer, OpenApiYamlRenderer]


# Swagger UI sets styles of its own from its script.
@method_decorator(csp_update({"style-src": ["'unsafe-inline'"]}), name="dispatch")
class DocsView(LoginRequiredMixin, SpectacularSwaggerSplitView):
    """Swagger UI from our own static files; a browser that is not logged in is sent to the admin's login."""

    permission_classes = (IsAuthenticated,)
    url_name = "schema"
