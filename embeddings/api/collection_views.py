"""/api/v1/collections/"""

from typing import Any

from django.db.models import prefetch_related_objects
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from embeddings.models import Collection, Engine
from embeddings.services import collection_figures, collections
from embeddings.services.collection_figures import Figures
from embeddings.services.collection_settings import CollectionRefused
from jobs.api.limit_views import StrictInteger
from jobs.api.pagination import ByName
from jobs.api.problems import add_meaning
from jobs.api.serializers import StrictSerializer
from jobs.api.views import ApiView

add_meaning(collections.CollectionExists, 409, "collection-exists", "#/name")
add_meaning(collections.HoldsHiddenDocuments, 409, "hidden-documents")
add_meaning(collections.CollectionNotEmpty, 409, "collection-not-empty")

_NAME = OpenApiParameter("name", str, OpenApiParameter.PATH, description="The collection's name.")
_FORCE = OpenApiParameter("force", bool, description="Delete it with its documents, by a job.")


class FiguresSerializer(serializers.Serializer[Any]):
    documents = serializers.IntegerField()
    chunks = serializers.IntegerField()
    tokens = serializers.IntegerField()
    embedded = serializers.IntegerField(help_text="Chunks with a vector of the collection's model.")
    pending = serializers.IntegerField(help_text="Chunks that are to be embedded yet.")
    set_aside = serializers.IntegerField()
    at = serializers.DateTimeField(allow_null=True, help_text="When it was measured; null: now.")


class CollectionSerializer(serializers.ModelSerializer[Collection]):
    engine = serializers.ChoiceField(choices=Engine.choices)
    groups: Any = serializers.SlugRelatedField(slug_field="name", many=True, read_only=True)
    model = serializers.CharField(
        source="model.spec", default=None, allow_null=True, help_text="What its vectors are made by."
    )
    fast_model = serializers.CharField(source="fast_model.spec", default=None, allow_null=True)
    active_version = serializers.IntegerField(
        source="active_version.number",
        default=None,
        allow_null=True,
        help_text="The version of its index that searches use.",
    )
    figures = serializers.SerializerMethodField()

    class Meta:
        model = Collection
        fields = [
            *("name", "description", "encoder", "model", "fast_encoder", "fast_model", "engine", "language"),
            *("chunk_tokens", "chunk_overlap", "recall_target", "recall_floor", "keep_versions", "groups"),
            *("active_version", "created_at", "figures"),
        ]
        read_only_fields = fields

    @extend_schema_field(FiguresSerializer(allow_null=True))
    def get_figures(self, collection: Collection) -> dict[str, Any] | None:
        found: Figures | None = self.context["figures"].get(collection.pk)
        return None if found is None else dict(FiguresSerializer(found).data)


class ChangedSerializer(CollectionSerializer):
    recut_job = serializers.SerializerMethodField(help_text="The job that cuts its documents anew, if that is needed.")

    class Meta(CollectionSerializer.Meta):
        fields = [*CollectionSerializer.Meta.fields, "recut_job"]
        read_only_fields = fields

    def get_recut_job(self, collection: Collection) -> str:
        return str(self.context["recut_job"])


class SettingsSerializer(StrictSerializer):
    description = serializers.CharField(required=False, allow_blank=True)
    encoder = serializers.CharField(
        required=False, allow_blank=True, help_text="What embeds it; empty: the site's default."
    )
    fast_encoder = serializers.CharField(required=False, allow_blank=True, help_text="Empty: none.")
    engine = serializers.CharField(required=False, help_text="faiss or pgvector.")
    language = serializers.CharField(required=False, help_text="Postgres' text search configuration.")
    chunk_tokens = StrictInteger(required=False, help_text="16 to 4,096.")
    chunk_overlap = StrictInteger(required=False, help_text="Less than half of chunk_tokens.")
    recall_target = serializers.FloatField(required=False, help_text="0 to 1.")
    recall_floor = serializers.FloatField(required=False, help_text="0 to 1.")
    keep_versions = StrictInteger(required=False, help_text="1 to 1,000.")
    groups = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Names of the groups that may see it; none: all."
    )


class NewCollectionSerializer(SettingsSerializer):
    name = serializers.CharField(max_length=63, help_text="Small letters, digits, dots, dashes and underscores.")


class CollectionsByName(ByName):
    pass


class CollectionsApiView(ApiView):
    required_permission = "embeddings.view_collection"
    required_by_method = {
        "POST": "embeddings.add_collection",
        "PATCH": "embeddings.change_collection",
        "DELETE": "embeddings.delete_collection",
    }


class CollectionsView(CollectionsApiView):
    pagination_class = CollectionsByName
    serializer_class = NewCollectionSerializer

    @extend_schema(operation_id="collections_list", responses=CollectionSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Collections that you may see, by name, as they were measured last."""
        page = self.paginate_queryset(collections.visible_to(request.user)) or []
        return self.get_paginated_response(shown_collections(list(page)))

    @extend_schema(operation_id="collections_create", responses={201: CollectionSerializer, 409: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        """Make a collection; what is left out is as usual."""
        settings = self.body(request)
        try:
            made = collections.create(self.actor, settings.pop("name"), settings)
        except CollectionRefused as exc:
            raise ValidationError(exc.errors) from None
        return Response(shown_collection(made), status=status.HTTP_201_CREATED)


class CollectionView(CollectionsApiView):
    pagination_class = None
    serializer_class = SettingsSerializer
    parameters = frozenset({"force"})

    @extend_schema(operation_id="collections_show", parameters=[_NAME], responses=CollectionSerializer)
    def get(self, request: Request, name: str) -> Response:
        """One collection."""
        return Response(shown_collection(collections.find(name, request.user)))

    @extend_schema(operation_id="collections_change", parameters=[_NAME], responses=ChangedSerializer)
    def patch(self, request: Request, name: str) -> Response:
        """Change the settings that are named. Documents are cut anew where that is needed, by a job."""
        try:
            changed = collections.change(self.actor, name, self.body(request, partial=True))
        except CollectionRefused as exc:
            raise ValidationError(exc.errors) from None
        context = {**_figures_of(changed.collection), "recut_job": changed.recut_job}
        return Response(ChangedSerializer(_related(changed.collection), context=context).data)

    @extend_schema(
        operation_id="collections_delete",
        parameters=[_NAME, _FORCE],
        responses={204: None, 202: OpenApiTypes.OBJECT, 409: OpenApiTypes.OBJECT},
    )
    def delete(self, request: Request, name: str) -> Response:
        """Delete an empty collection; with `force` one that has documents: 202, with the job that does it."""
        try:
            job = collections.delete(self.actor, name, force=_flag(request, "force"))
        except CollectionRefused as exc:
            raise ValidationError(exc.errors) from None
        if job:
            return Response({"collection": name, "job": job}, status=status.HTTP_202_ACCEPTED)
        return Response(status=status.HTTP_204_NO_CONTENT)


_RELATED = ("model", "fast_model", "active_version")


def shown_collection(collection: Collection) -> dict[str, Any]:
    """With what is in it now, if that is counted quickly."""
    return dict(CollectionSerializer(_related(collection), context=_figures_of(collection)).data)


def shown_collections(page: list[Collection]) -> list[dict[str, Any]]:
    """As they were measured last."""
    prefetch_related_objects(page, *_RELATED, "groups")
    context = {"figures": collection_figures.measured(page)}
    return list(CollectionSerializer(page, many=True, context=context).data)


def _related(collection: Collection) -> Collection:
    return Collection.objects.select_related(*_RELATED).prefetch_related("groups").get(pk=collection.pk)


def _figures_of(collection: Collection) -> dict[str, Any]:
    return {"figures": {collection.pk: collection_figures.figures(collection)}}


def _flag(request: Request, name: str) -> bool:
    """`?force`, `?force=true` and `?force=1` say yes. Raises ValidationError for what says neither yes nor no."""
    text = request.query_params.get(name)
    if text is None or text.lower() in ("false", "0"):
        return False
    if text.lower() in ("", "true", "1"):
        return True
    raise ValidationError({name: [f"{text[:40]!r} is neither true nor false"]})
