"""/api/v1/models/"""

from typing import Any, ClassVar

from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from embeddings.models import EmbeddingModel
from embeddings.services import encoder_builds
from jobs.api.pagination import NewestFirst
from jobs.api.problems import add_meaning
from jobs.api.serializers import JsonObject, StrictSerializer
from jobs.api.views import ApiView

add_meaning(EmbeddingModel.DoesNotExist, 404, "not-found")
add_meaning(encoder_builds.NothingToBuild, 409, "nothing-to-build")

_ID = OpenApiParameter("model_id", int, OpenApiParameter.PATH, description="The model's id.")


class ModelSerializer(serializers.ModelSerializer[EmbeddingModel]):
    """An encoder as built."""

    parameters = JsonObject(help_text="Precision, limits and the like.")
    quality = JsonObject(help_text="What was measured when it was built, such as top_10_overlap.")

    class Meta:
        model = EmbeddingModel
        fields = ["id", "spec", "digest", "dimension", "parameters", "quality", "created_at"]
        read_only_fields = fields


class BuildSerializer(StrictSerializer):
    spec = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=200, help_text="Such as minilm; empty: the default."
    )

    def validate_spec(self, spec: str) -> str:
        from embeddings.encoders.registry import UnknownEncoder, check_spec

        try:
            return check_spec(spec) if spec else spec
        except UnknownEncoder as exc:
            raise serializers.ValidationError(str(exc)) from None


class BuildSentSerializer(serializers.Serializer[Any]):
    job = serializers.CharField(help_text="The job that builds it.")


class ModelFilter(filters.FilterSet):
    spec = filters.CharFilter(max_length=200, help_text="The exact spec.")

    class Meta:
        model = EmbeddingModel
        fields: ClassVar[list[str]] = []


class NewestModelsFirst(NewestFirst):
    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            if not (position[1].isascii() and position[1].isdigit() and int(position[1]) <= encoder_builds.LARGEST_ID):
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
            position[1] = int(position[1])
        return backwards, position


class ModelsView(ApiView):
    queryset = encoder_builds.models()
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = ModelFilter
    pagination_class = NewestModelsFirst
    required_permission = "embeddings.view_embeddingmodel"
    required_to_change = encoder_builds.PERMISSION
    serializer_class = BuildSerializer

    @extend_schema(operation_id="models_list", responses=ModelSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Every encoder that was built or has embedded something, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(ModelSerializer(page, many=True).data)

    @extend_schema(operation_id="models_build", responses={202: BuildSentSerializer, 409: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        """Build an encoder again, on one of the workers that build indexes."""
        job_id = encoder_builds.start_build(self.actor, self.body(request)["spec"])
        return Response({"job": job_id}, status=status.HTTP_202_ACCEPTED)


class ModelView(ApiView):
    pagination_class = None
    required_permission = "embeddings.view_embeddingmodel"
    serializer_class = ModelSerializer

    @extend_schema(operation_id="models_show", parameters=[_ID], responses=ModelSerializer)
    def get(self, request: Request, model_id: int) -> Response:
        """One encoder as built."""
        return Response(ModelSerializer(encoder_builds.find_model(model_id)).data)
