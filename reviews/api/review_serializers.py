"""Repositories, reviews, findings and deliveries in JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from jobs.api.serializers import AnyJson, JsonObject, StrictBoolean, StrictSerializer
from reviews.models import (
    Delivery,
    Finding,
    FindingState,
    LlmCall,
    MissedDelivery,
    PullRequestReview,
    Repository,
    ReviewStatus,
    Severity,
    Trigger,
)
from reviews.operators.repositories import SETTINGS


class PathInstructionsSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(help_text="A pattern as in .gitignore.")
    instructions = serializers.CharField()


class RepositorySettingsSerializer(serializers.ModelSerializer[Repository]):
    """How a repository is reviewed; what is left out stays as it is."""

    severity_floor = serializers.ChoiceField(choices=Severity.choices, required=False)
    access = serializers.CharField(
        source="access.name", required=False, allow_null=True, default=None,
        help_text="A GitHub access by its name; null: the environment's token.",
    )  # fmt: skip
    path_instructions = PathInstructionsSerializer(many=True, required=False)

    class Meta:
        model = Repository
        fields = list(SETTINGS.names)


class NewRepositorySerializer(RepositorySettingsSerializer):
    class Meta(RepositorySettingsSerializer.Meta):
        fields = ["full_name", *SETTINGS.names]


class RepositorySerializer(RepositorySettingsSerializer):
    installation = serializers.CharField(
        source="installation.account_login", default=None, allow_null=True, help_text="The account with the App."
    )
    file_settings = JsonObject(help_text="What `.switchyard.yml` on its default branch said when it was last read.")

    class Meta(RepositorySettingsSerializer.Meta):
        fields = [
            *("id", "full_name", "github_id", "private", "default_branch", "installation", "removed_at", "created_at"),
            *(*SETTINGS.names, "file_settings"),
        ]
        read_only_fields = fields


class FindingSerializer(serializers.ModelSerializer[Finding]):
    """One remark of a review. Texts come from outside: they are plain text, never Markdown."""

    repository = serializers.CharField(source="review.repository.full_name")
    number = serializers.IntegerField(source="review.number", help_text="Of the pull request.")
    state = serializers.ChoiceField(choices=FindingState.choices)
    severity = serializers.ChoiceField(choices=Severity.choices)

    class Meta:
        model = Finding
        fields = [
            *("id", "review", "repository", "number", "state", "provider", "path", "line", "end_line", "rule"),
            *("message", "severity", "category", "source_line", "symbol", "hunk", "suggestion", "fingerprint"),
            *("anchored", "comment_id", "closed_by"),
        ]
        read_only_fields = fields


class LlmCallSerializer(serializers.ModelSerializer[LlmCall]):
    """One request to a language model; its cost is the most that it may be until `finished_at`."""

    repository = serializers.CharField(source="repository.full_name", default=None, allow_null=True)
    job = serializers.SerializerMethodField()

    class Meta:
        model = LlmCall
        fields = [
            *("id", "provider", "model", "purpose", "repository", "number", "review", "job", "input_tokens"),
            *("cached_tokens", "written_tokens", "output_tokens", "cost_usd", "seconds", "error"),
            *("created_at", "finished_at"),
        ]
        read_only_fields = fields

    def get_job(self, call: LlmCall) -> str | None:
        return call.job_id or None


class ReviewSerializer(serializers.ModelSerializer[PullRequestReview]):
    repository = serializers.CharField(source="repository.full_name")
    status = serializers.ChoiceField(choices=ReviewStatus.choices)
    trigger = serializers.ChoiceField(choices=Trigger.choices)
    job = serializers.SerializerMethodField(help_text="The job that does it, or did so last.")
    job_state = serializers.CharField(
        allow_null=True, help_text="Of that job; an unfinished review whose job has ended does not go on by itself."
    )
    told = serializers.SerializerMethodField(help_text="How many findings were posted.")

    class Meta:
        model = PullRequestReview
        fields = [
            *("id", "repository", "number", "round", "title", "status", "trigger", "asked_by", "full", "base_sha"),
            *("head_sha", "since_sha", "provider", "fallback", "finding_count", "told", "cost_usd", "error", "lane"),
            *("job", "job_state", "github_review_id", "created_at", "started_at", "finished_at"),
        ]
        read_only_fields = fields

    def get_job(self, review: PullRequestReview) -> str | None:
        return review.job_id or None

    def get_told(self, review: PullRequestReview) -> int:
        return getattr(review, "told", None) or 0


class ReviewDetailSerializer(ReviewSerializer):
    coverage = JsonObject(help_text="How many files were read, and which not and why.")
    config = JsonObject(help_text="The settings that it was made with, and where these come from.")
    step_seconds = JsonObject(help_text="Seconds spent in each step.")
    findings = FindingSerializer(many=True)
    llm_calls = LlmCallSerializer(
        source="newest_calls", many=True, help_text="The newest 200; none for whoever may not see calls."
    )

    class Meta(ReviewSerializer.Meta):
        fields = [
            *(*ReviewSerializer.Meta.fields, "coverage", "config", "step_seconds", "check_run_id", "findings"),
            "llm_calls",
        ]
        read_only_fields = fields

    def to_representation(self, instance: PullRequestReview) -> Any:
        shown = super().to_representation(instance)
        request = self.context.get("request")  # commands have none, and show all
        if request is not None and not request.user.has_perm("reviews.view_llmcall"):
            shown["llm_calls"] = []
        return shown


class AskedSerializer(ReviewDetailSerializer):
    said = serializers.CharField(help_text="What became of the wish, in words.")

    class Meta(ReviewDetailSerializer.Meta):
        fields = [*ReviewDetailSerializer.Meta.fields, "said"]
        read_only_fields = fields


class AskSerializer(StrictSerializer):
    repository = serializers.CharField(max_length=201, help_text="owner/name")
    number = serializers.IntegerField(min_value=1, max_value=2**31 - 1, help_text="Of the pull request.")
    full = StrictBoolean(default=False, help_text="All of the change, not only what is new since its last review.")


class GitHubDeliverySerializer(serializers.ModelSerializer[Delivery]):
    repository = serializers.CharField(source="repository.full_name", default=None, allow_null=True)
    access = serializers.CharField(
        source="access.name", default=None, allow_null=True, help_text="By whose secret it was signed."
    )
    job = serializers.SerializerMethodField(help_text="That it started.")

    class Meta:
        model = Delivery
        fields = [
            *("id", "guid", "event", "action", "repository", "access", "outcome", "job", "received_at", "repeats"),
            "asked_again_at",
        ]
        read_only_fields = fields

    def get_job(self, delivery: Delivery) -> str | None:
        return delivery.job_id or None


class GitHubDeliveryDetailSerializer(GitHubDeliverySerializer):
    payload = serializers.SerializerMethodField(help_text="Of a large payload only the outline.")

    class Meta(GitHubDeliverySerializer.Meta):
        fields = [*GitHubDeliverySerializer.Meta.fields, "payload"]
        read_only_fields = fields

    @extend_schema_field(AnyJson())
    def get_payload(self, delivery: Delivery) -> Any:
        return delivery.payload


class RedeliveredSerializer(GitHubDeliverySerializer):
    said = serializers.CharField(help_text="What came of it, in words.")

    class Meta(GitHubDeliverySerializer.Meta):
        fields = [*GitHubDeliverySerializer.Meta.fields, "said"]
        read_only_fields = fields


class MissedDeliverySerializer(serializers.ModelSerializer[MissedDelivery]):
    access = serializers.CharField(source="access.name", help_text="The App that it was for.")

    class Meta:
        model = MissedDelivery
        fields = ["id", "guid", "event", "action", "access", "status_code", "delivered_at", "asked", "ask_at", "error"]
        read_only_fields = fields
