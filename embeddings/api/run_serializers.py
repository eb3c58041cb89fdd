"""Runs as JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from embeddings.models import EmbeddingBatch, EmbeddingRun, RunKind, RunState, SetAside
from embeddings.services import run_lists
from embeddings.services.run_figures import RunFigures, figures_of
from jobs.api.serializers import StrictSerializer

MOST_TRIED_AGAIN = 1000


class RunFiguresSerializer(serializers.Serializer[RunFigures]):
    """Chunks a second, and what is to come; seconds since it was planned."""

    seconds = serializers.FloatField()
    fraction = serializers.FloatField(help_text="What has ended of it, 0 to 1.")
    rate = serializers.FloatField(help_text="Chunks a second since it was planned.")
    recent_rate = serializers.FloatField(allow_null=True, help_text="In the last 30 s; null once it has ended.")
    eta_seconds = serializers.FloatField(allow_null=True, help_text="At the recent rate.")
    batches = serializers.DictField(child=serializers.IntegerField(), help_text="By what they are.")


class EmbeddingRunSerializer(serializers.ModelSerializer[EmbeddingRun]):
    """A run; counts are of chunks. Needs `figures`, by id, in its context."""

    collection = serializers.CharField(source="collection.name")
    kind = serializers.ChoiceField(choices=RunKind.choices)
    state = serializers.ChoiceField(choices=RunState.choices)
    model = serializers.IntegerField(source="model_id", allow_null=True, help_text="The model's number.")
    job = serializers.CharField(source="job_id", help_text="The job that waits for it; empty: none does.")
    remaining = serializers.IntegerField()
    figures = serializers.SerializerMethodField()

    class Meta:
        model = EmbeddingRun
        fields = [
            *("id", "collection", "encoder", "model", "kind", "state", "job", "total", "unchanged", "encoded"),
            *("set_aside", "remaining", "tokens", "cpu_seconds", "dollars", "figures", "error"),
            *("created_at", "started_at", "finished_at"),
        ]
        read_only_fields = fields

    @extend_schema_field(RunFiguresSerializer(allow_null=True))
    def get_figures(self, run: EmbeddingRun) -> dict[str, Any] | None:
        found = self.context["figures"].get(run.pk)
        return None if found is None else dict(RunFiguresSerializer(found).data)


class EmbeddingBatchSerializer(serializers.ModelSerializer[EmbeddingBatch]):
    job = serializers.CharField(source="job_id")

    class Meta:
        model = EmbeddingBatch
        fields = ["first_id", "last_id", "size", "state", "job", "error"]
        read_only_fields = fields


class EmbeddingRunDetailSerializer(EmbeddingRunSerializer):
    batches = serializers.SerializerMethodField(help_text="The first that are out, or were split or set aside.")

    class Meta(EmbeddingRunSerializer.Meta):
        fields = [*EmbeddingRunSerializer.Meta.fields, "batches"]
        read_only_fields = fields

    @extend_schema_field(EmbeddingBatchSerializer(many=True))
    def get_batches(self, run: EmbeddingRun) -> list[dict[str, Any]]:
        return list(EmbeddingBatchSerializer(run_lists.batches_of(run), many=True).data)


class StartSerializer(StrictSerializer):
    collection = serializers.CharField(max_length=63, help_text="Its name.")
    encoder = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=200,
        help_text="One of the collection's; empty: its own.",
    )


class SetAsideSerializer(serializers.ModelSerializer[SetAside]):
    """A content that a model could not embed. document: the id of one that has it, if any still does."""

    collection = serializers.CharField(source="collection.name")
    model = serializers.CharField(source="model.spec")
    document = serializers.CharField(allow_null=True)
    run = serializers.IntegerField(source="run_id", allow_null=True)

    class Meta:
        model = SetAside
        fields = ["id", "collection", "model", "document", "chunk_id", "reason", "run", "created_at"]
        read_only_fields = fields


class TryAgainSerializer(StrictSerializer):
    collection = serializers.CharField(max_length=63, help_text="Its name.")
    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        allow_empty=False,
        max_length=MOST_TRIED_AGAIN,
        help_text="Which of its contents; left out: all of them.",
    )


class TriedAgainSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="Contents that are no longer set aside.")
    run = serializers.IntegerField(allow_null=True, help_text="The run that tries them.")


def shown_runs(runs: list[EmbeddingRun]) -> list[dict[str, Any]]:
    return list(EmbeddingRunSerializer(runs, many=True, context={"figures": figures_of(runs)}).data)


def shown_run(run: EmbeddingRun) -> dict[str, Any]:
    return dict(EmbeddingRunDetailSerializer(run, context={"figures": figures_of([run])}).data)
