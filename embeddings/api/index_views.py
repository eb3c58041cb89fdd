"""/api/v1/indexes/"""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from embeddings import errors
from embeddings.models import Activation, Engine, IndexVersion, VersionState
from embeddings.services import versions
from jobs.api.pagination import NewestFirst
from jobs.api.problems import add_meaning
from jobs.api.serializers import JsonObject, StrictSerializer
from jobs.api.views import ApiView

add_meaning(IndexVersion.DoesNotExist, 404, "not-found")
add_meaning(errors.VersionNotActivated, 409, "version-not-activated")
add_meaning(errors.VersionWithoutFiles, 409, "version-without-files")
add_meaning(errors.IndexDamaged, 409, "index-damaged")
add_meaning(errors.EngineUnavailable, 409, "engine-unavailable")
add_meaning(errors.StoreUnavailable, 503, "index-storage-away")

_ID = OpenApiParameter("version_id", int, OpenApiParameter.PATH, description="The version's id.")


class IndexVersionSerializer(serializers.ModelSerializer[IndexVersion]):
    """A version without its manifest. recall_mean, recall_p5: recall@10 over held queries, 0 to 1."""

    collection = serializers.CharField(source="collection.name")
    model = serializers.CharField(source="model.spec")
    engine = serializers.ChoiceField(choices=Engine.choices)
    state = serializers.ChoiceField(choices=VersionState.choices)
    is_active = serializers.SerializerMethodField(help_text="Whether searches use it now.")
    damage = serializers.SerializerMethodField(
        help_text="Of one in use: which of its files is gone or cut short on the host that answers; else empty."
    )
    parameters = JsonObject(help_text="How it is searched: nprobe, efSearch.")
    job = serializers.CharField(source="job_id", help_text="The job that built it.")

    class Meta:
        model = IndexVersion
        fields = [
            *("id", "collection", "number", "model", "engine", "state", "is_active", "damage", "kind"),
            *("parameters", "count", "bytes", "digest", "recall_mean", "recall_p5", "build_seconds", "reason", "job"),
            *("created_at", "built_at", "removed_at"),
        ]
        read_only_fields = fields

    def get_is_active(self, version: IndexVersion) -> bool:
        return versions.is_active(version)

    def get_damage(self, version: IndexVersion) -> str:
        return versions.damage(version)


class ActivationSerializer(serializers.ModelSerializer[Activation]):
    class Meta:
        model = Activation
        fields = ["at", "actor", "reason"]
        read_only_fields = fields


class IndexVersionDetailSerializer(IndexVersionSerializer):
    manifest = JsonObject(help_text="Of its files, and every kind of index that was tried.")
    activations = serializers.SerializerMethodField(help_text="When it came into use, the latest first.")

    class Meta(IndexVersionSerializer.Meta):
        fields = [*IndexVersionSerializer.Meta.fields, "manifest", "activations"]
        read_only_fields = fields

    def get_activations(self, version: IndexVersion) -> list[dict[str, Any]]:
        return list(ActivationSerializer(versions.activations(version), many=True).data)


class RebuildSerializer(StrictSerializer):
    collection = serializers.CharField(max_length=63, help_text="Its name.")


class RebuildSentSerializer(serializers.Serializer[Any]):
    collection = serializers.CharField()
    job = serializers.CharField(help_text="The first of three: embed_all_documents; the other two follow it.")


class ActivateSerializer(StrictSerializer):
    reason = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=255, help_text="Kept with it and in the audit log."
    )


class VerifiedSerializer(serializers.Serializer[Any]):
    files = JsonObject(help_text="Name → bytes of each file that was read whole and found as it was built.")
    folder = serializers.CharField(help_text="Where they are on the host that answers; empty: the engine has no files.")


class VersionFilter(filters.FilterSet):
    """An unknown state is refused rather than finding nothing."""

    collection = filters.CharFilter(field_name="collection__name", max_length=63, help_text="The collection's name.")
    state = filters.MultipleChoiceFilter(
        choices=VersionState.choices,
        help_text="May be given several times.",
        error_messages={"invalid_choice": f"unknown state %(value)r; choose from: {', '.join(VersionState.values)}"},
    )

    class Meta:
        model = IndexVersion
        fields: ClassVar[list[str]] = []


class NewestVersionsFirst(NewestFirst):
    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            if not (position[1].isascii() and position[1].isdigit() and int(position[1]) <= versions.LARGEST_ID):
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
            position[1] = int(position[1])
        return backwards, position


class IndexesView(ApiView):
    queryset = IndexVersion.objects.none()
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = VersionFilter
    pagination_class = NewestVersionsFirst
    required_permission = "embeddings.view_indexversion"
    required_to_change = "embeddings.build_index"
    serializer_class = RebuildSerializer

    def get_queryset(self) -> QuerySet[IndexVersion]:
        return versions.versions(self.request.user).defer("manifest")

    @extend_schema(operation_id="indexes_list", responses=IndexVersionSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest index versions first, of collections that you may see."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(IndexVersionSerializer(page, many=True).data)

    @extend_schema(operation_id="indexes_rebuild", responses={202: RebuildSentSerializer})
    def post(self, request: Request) -> Response:
        """Embed what is new in a collection, build its index if anything changed, and swap it in."""
        from embeddings.services import collections, rebuilding

        collection = collections.find(self.body(request)["collection"], request.user)
        job_id = rebuilding.rebuild(self.actor, collection)
        return Response({"collection": collection.name, "job": job_id}, status=status.HTTP_202_ACCEPTED)


class IndexView(ApiView):
    pagination_class = None
    required_permission = "embeddings.view_indexversion"
    serializer_class = IndexVersionDetailSerializer

    @extend_schema(operation_id="indexes_show", parameters=[_ID], responses=IndexVersionDetailSerializer)
    def get(self, request: Request, version_id: int) -> Response:
        """One version, with its manifest and when it was in use."""
        return Response(IndexVersionDetailSerializer(versions.find_version(version_id, request.user)).data)


class ActivateView(ApiView):
    pagination_class = None
    required_permission = "embeddings.activate_index"
    serializer_class = ActivateSerializer

    @extend_schema(
        operation_id="indexes_activate",
        parameters=[_ID],
        responses={200: IndexVersionDetailSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, version_id: int) -> Response:
        """Put a version in use, older ones too; the next search of every process uses it."""
        from embeddings.services import pointer

        version = versions.find_version(version_id, request.user)
        pointer.activate(self.actor, version, self.body(request)["reason"])
        return Response(IndexVersionDetailSerializer(versions.find_version(version_id, request.user)).data)


class VerifyView(ApiView):
    pagination_class = None
    required_permission = "embeddings.view_indexversion"
    serializer_class = StrictSerializer

    @extend_schema(
        operation_id="indexes_verify",
        parameters=[_ID],
        request=None,
        responses={200: VerifiedSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, version_id: int) -> Response:
        """Read a version's files whole, on the host that answers, and compare them with what was built."""
        return Response(versions.verify(self.actor, versions.find_version(version_id, request.user)))
