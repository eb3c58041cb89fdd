"""/api/v1/collections/{name}/migration/, …/statistics/ and /api/v1/indexes/clean-up/"""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from embeddings.models import CollectionStatistics, EmbeddingRun, ModelComparison
from embeddings.services import cleaning, collections, comparison_samples, migration, migration_state
from jobs.api.pagination import NewestFirst
from jobs.api.problems import add_meaning
from jobs.api.serializers import NothingSerializer, StrictSerializer
from jobs.api.views import ApiView

add_meaning(collections.UnknownCollection, 404, "not-found")
add_meaning(migration_state.MigrationUnderWay, 409, "migration-under-way")
add_meaning(migration_state.NoMigration, 409, "no-migration")
add_meaning(migration_state.CandidateNotReady, 409, "candidate-not-ready")
add_meaning(migration_state.SameModel, 409, "same-model", "#/encoder")

_NAME = OpenApiParameter("name", str, OpenApiParameter.PATH, description="The collection's name.")


class MigrationRunSerializer(serializers.ModelSerializer[EmbeddingRun]):
    """The run that embeds by the other model."""

    class Meta:
        model = EmbeddingRun
        fields = ["id", "state", "total", "encoded", "set_aside", "unchanged", "error", "created_at", "finished_at"]
        read_only_fields = fields


class SampleAnswerSerializer(serializers.Serializer[Any]):
    chunk = serializers.IntegerField()
    document = serializers.CharField(help_text="The id that it was put under.")
    text = serializers.CharField(help_text="The beginning of the chunk.")
    score = serializers.FloatField()


class SampleSerializer(serializers.Serializer[Any]):
    """A query with both answers, as far as you may see them."""

    query = serializers.CharField(
        allow_null=True, help_text="Null: it was taken from a text that is hidden or deleted; no answers are told."
    )
    overlap = serializers.FloatField()
    current = SampleAnswerSerializer(many=True)
    candidate = SampleAnswerSerializer(many=True)
    left_out = serializers.IntegerField(help_text="Answers of either model that are hidden or deleted.")


class ComparisonSerializer(serializers.ModelSerializer[ModelComparison]):
    """overlap: shared part of both top tens, 0 to 1."""

    current = serializers.CharField(source="current.spec")
    candidate = serializers.CharField(source="candidate.spec")
    samples = serializers.SerializerMethodField()

    class Meta:
        model = ModelComparison
        fields = [
            *("id", "at", "current", "candidate", "queries", "overlap", "overlap_p5", "current_ms", "candidate_ms"),
            "samples",
        ]
        read_only_fields = fields

    @extend_schema_field(SampleSerializer(many=True))
    def get_samples(self, comparison: ModelComparison) -> list[dict[str, Any]]:
        """Some queries, those that differ the most first."""
        return comparison_samples.shown(comparison, self.context["user"])


class MigrationSerializer(serializers.Serializer[migration_state.Status]):
    """Where a collection is between two models."""

    step = serializers.ChoiceField(
        choices=["none", "candidate", "previous"],
        help_text="none: one model. candidate: a second one beside it. previous: switched, and may go back.",
    )
    encoder = serializers.CharField(help_text="What its searches use.")
    other_encoder = serializers.CharField(allow_blank=True, help_text="The candidate, or the previous one.")
    chunks = serializers.IntegerField(source="coverage.chunks", default=None, allow_null=True)
    missing = serializers.IntegerField(
        source="coverage.missing", default=None, allow_null=True, help_text="Chunks without a vector of the other one."
    )
    version = serializers.IntegerField(
        source="version.number", default=None, allow_null=True, help_text="The other one's newest good index."
    )
    version_recall = serializers.FloatField(source="version.recall_mean", default=None, allow_null=True)
    run = MigrationRunSerializer(allow_null=True)
    comparison = serializers.SerializerMethodField()
    why_not = serializers.CharField(allow_blank=True, help_text="Why it cannot be switched now; empty: it can.")

    @extend_schema_field(ComparisonSerializer(allow_null=True))
    def get_comparison(self, found: migration_state.Status) -> Any:
        return None if found.comparison is None else ComparisonSerializer(found.comparison, context=self.context).data


class BeginSerializer(StrictSerializer):
    encoder = serializers.CharField(max_length=200, help_text="What to move to, such as minilm.")


class CompareSerializer(StrictSerializer):
    queries = serializers.ListField(
        child=serializers.CharField(max_length=1000),
        required=False,
        allow_empty=False,
        max_length=1000,
        help_text="What to ask both models; left out: texts of the collection.",
    )


class JobSentSerializer(serializers.Serializer[Any]):
    job = serializers.CharField(help_text="The id of the job that does it.")


class StatisticsSerializer(serializers.ModelSerializer[CollectionStatistics]):
    class Meta:
        model = CollectionStatistics
        fields = [
            *("at", "documents", "chunks", "tokens", "embedded", "set_aside", "beside_index"),
            *("vector_bytes", "index_bytes"),
        ]
        read_only_fields = fields


def shown_migration(collection_name: str, user: Any = None) -> dict[str, Any]:
    """Where a collection is, as the API and the command tell it. Raises UnknownCollection."""
    found = migration_state.status(collections.find(collection_name, user))
    return dict(MigrationSerializer(found, context={"user": user}).data)


class MigrationApiView(ApiView):
    pagination_class = None
    required_permission = "embeddings.activate_index"
    serializer_class: Any = NothingSerializer

    def shown(self, name: str, code: int = status.HTTP_200_OK) -> Response:
        return Response(shown_migration(name, self.request.user), status=code)


class MigrationView(MigrationApiView):
    required_permission = "embeddings.view_collection"
    required_to_change = "embeddings.activate_index"
    serializer_class = BeginSerializer

    @extend_schema(operation_id="migration_show", parameters=[_NAME], responses=MigrationSerializer)
    def get(self, request: Request, name: str) -> Response:
        """Where a collection is between two models."""
        return self.shown(name)

    @extend_schema(
        operation_id="migration_begin",
        parameters=[_NAME],
        responses={202: MigrationSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, name: str) -> Response:
        """Have a second model embed the collection, beside the one in use; then its index is built and compared."""
        from embeddings.encoders.registry import UnknownEncoder

        try:
            migration.begin(self.actor, name, self.body(request)["encoder"])
        except UnknownEncoder as exc:
            raise ValidationError({"encoder": [str(exc)]}) from None
        return self.shown(name, status.HTTP_202_ACCEPTED)


class CompareView(MigrationApiView):
    serializer_class = CompareSerializer

    @extend_schema(
        operation_id="migration_compare",
        parameters=[_NAME],
        responses={202: JobSentSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, name: str) -> Response:
        """Put questions to both models, by a job; the answer is in the migration's `comparison` then."""
        job_id = migration.ask(self.actor, name, self.body(request).get("queries"))
        return Response({"job": job_id}, status=status.HTTP_202_ACCEPTED)


class EmbedAgainView(MigrationApiView):
    @extend_schema(
        operation_id="migration_embed_again",
        parameters=[_NAME],
        responses={202: MigrationSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, name: str) -> Response:
        """Send the candidate's run, index and comparison once more, after they failed."""
        self.body(request)
        migration.embed_again(self.actor, name)
        return self.shown(name, status.HTTP_202_ACCEPTED)


class SwitchView(MigrationApiView):
    @extend_schema(
        operation_id="migration_switch",
        parameters=[_NAME],
        responses={200: MigrationSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, name: str) -> Response:
        """Search by the candidate and its index from now on; the old model is kept up, to go back to."""
        self.body(request)
        migration.switch(self.actor, name)
        return self.shown(name)


class BackView(MigrationApiView):
    @extend_schema(
        operation_id="migration_back",
        parameters=[_NAME],
        responses={200: MigrationSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, name: str) -> Response:
        """Search by the previous model and its index again."""
        self.body(request)
        migration.go_back(self.actor, name)
        return self.shown(name)


class CloseView(MigrationApiView):
    @extend_schema(
        operation_id="migration_close",
        parameters=[_NAME],
        responses={200: MigrationSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, name: str) -> Response:
        """Forget the model that is not in use; the clean-up removes its vectors and indexes."""
        self.body(request)
        migration.close(self.actor, name)
        return self.shown(name)


class LatestStatisticsFirst(NewestFirst):
    ordering = ("-at",)


class StatisticsView(ApiView):
    pagination_class = LatestStatisticsFirst
    required_permission = "embeddings.view_collection"
    serializer_class = StatisticsSerializer

    def get_queryset(self) -> QuerySet[CollectionStatistics]:
        # The schema is made without a collection.
        name = self.kwargs.get("name")
        rows = CollectionStatistics.objects.all()
        return rows.filter(collection=collections.find(name, self.request.user)) if name else rows.none()

    @extend_schema(operation_id="statistics_list", parameters=[_NAME], responses=StatisticsSerializer(many=True))
    def get(self, request: Request, name: str) -> Response:
        """What was measured of a collection in the last 30 days, every five minutes, the latest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(StatisticsSerializer(page, many=True).data)


class CleanUpView(ApiView):
    pagination_class = None
    required_permission = "embeddings.build_index"
    serializer_class = NothingSerializer

    @extend_schema(operation_id="indexes_clean_up", responses={202: JobSentSerializer})
    def post(self, request: Request) -> Response:
        """Remove orphaned vectors, index versions that are no longer kept, and what builds left, by a job."""
        self.body(request)
        return Response({"job": cleaning.send(self.actor)}, status=status.HTTP_202_ACCEPTED)
