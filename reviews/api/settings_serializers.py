"""GitHub accesses, installations, language models, their calls, replies and code indexes in JSON."""

from typing import Any

from rest_framework import serializers

from jobs.api.serializers import JsonObject, SecretState, StrictSerializer
from reviews.models import (
    AccessKind,
    CodeIndex,
    CommentKind,
    GitHubAccess,
    IndexState,
    Installation,
    LlmKind,
    LlmProvider,
    Reply,
    ReplyStatus,
)
from reviews.operators import accesses, llm_providers


def _secret(help_text: str) -> Any:
    return serializers.CharField(write_only=True, required=False, allow_blank=True, help_text=help_text)


class AccessSettingsSerializer(serializers.ModelSerializer[GitHubAccess]):
    """An App or a token; what is left out stays, and an empty secret is taken away."""

    kind = serializers.ChoiceField(choices=AccessKind.choices, required=False)
    private_key = _secret("Of an App: the PEM file that GitHub made.")
    token = _secret("Of a personal token.")
    webhook_secret = _secret("What is entered at GitHub as the webhook's secret.")

    class Meta:
        model = GitHubAccess
        fields = list(accesses.SETTINGS.names)


class AccessSerializer(serializers.ModelSerializer[GitHubAccess]):
    kind = serializers.ChoiceField(choices=AccessKind.choices)
    private_key = SecretState()
    token = SecretState()
    webhook_secret = SecretState()
    used_by = serializers.IntegerField(read_only=True, help_text="How many repositories use it.")

    class Meta:
        model = GitHubAccess
        fields = [
            *("id", *accesses.SETTINGS.names, "app_id", "app_slug", "account_login", "checked_at", "error"),
            *("used_by", "created_at"),
        ]
        read_only_fields = fields


class CheckedAccessSerializer(serializers.Serializer[Any]):
    login = serializers.CharField(help_text="Who we are at GitHub.")
    problems = serializers.ListField(child=serializers.CharField(), help_text="Each with what to do.")
    installations = serializers.IntegerField(help_text="Of an App: where it is installed.")


class InstallationSerializer(serializers.ModelSerializer[Installation]):
    access = serializers.CharField(source="access.name")
    permissions = JsonObject(help_text="As the account granted them.")
    used_by = serializers.IntegerField(read_only=True, help_text="How many repositories it has.")

    class Meta:
        model = Installation
        fields = [
            *("id", "access", "github_id", "account_login", "account_type", "permissions", "suspended_at"),
            *("removed_at", "used_by", "created_at"),
        ]
        read_only_fields = fields


class LlmProviderSettingsSerializer(serializers.ModelSerializer[LlmProvider]):
    """A language model; what is left out stays, and an empty key is taken away."""

    kind = serializers.ChoiceField(choices=LlmKind.choices)
    api_key = _secret("Empty: ANTHROPIC_API_KEY or OPENAI_API_KEY of the environment.")

    class Meta:
        model = LlmProvider
        fields = list(llm_providers.SETTINGS.names)


class LlmProviderSerializer(LlmProviderSettingsSerializer):
    api_key = SecretState()

    class Meta(LlmProviderSettingsSerializer.Meta):
        fields = ["id", *llm_providers.SETTINGS.names, "checked_at", "error", "created_at"]
        read_only_fields = fields


class SentSerializer(serializers.Serializer[Any]):
    job = serializers.CharField(help_text="The job that does it.")


class SummedCallsSerializer(serializers.Serializer[Any]):
    of = serializers.CharField(help_text="The day (UTC), the provider or the repository; empty: calls of none.")
    calls = serializers.IntegerField()
    failed = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.DecimalField(None, 6, help_text="With what is reserved for calls under way.")


class ReplySerializer(serializers.ModelSerializer[Reply]):
    """A comment that spoke to us. Its texts come from outside: they are plain text, never Markdown."""

    repository = serializers.CharField(source="pull_request.repository.full_name")
    number = serializers.IntegerField(source="pull_request.number", help_text="Of the pull request.")
    kind = serializers.ChoiceField(choices=CommentKind.choices)
    status = serializers.ChoiceField(choices=ReplyStatus.choices)
    job = serializers.SerializerMethodField()

    class Meta:
        model = Reply
        fields = [
            *("id", "repository", "number", "kind", "comment_id", "thread_id", "finding", "author", "command"),
            *("status", "outcome", "answer_id", "job", "created_at", "finished_at"),
        ]
        read_only_fields = fields

    def get_job(self, reply: Reply) -> str | None:
        return reply.job_id or None


class ReplyDetailSerializer(ReplySerializer):
    class Meta(ReplySerializer.Meta):
        fields = [*ReplySerializer.Meta.fields, "body", "answer"]
        read_only_fields = fields


class CodeIndexSerializer(serializers.ModelSerializer[CodeIndex]):
    repository = serializers.CharField(source="repository.full_name")
    state = serializers.ChoiceField(choices=IndexState.choices)
    skipped = JsonObject(help_text="Reason → how many files were not indexed.")
    job = serializers.SerializerMethodField()

    class Meta:
        model = CodeIndex
        fields = [
            *("id", "repository", "state", "sha", "wanted_sha", "files", "symbols", "chunks", "skipped"),
            *("mirror_bytes", "job", "error", "started_at", "indexed_at", "seconds"),
        ]
        read_only_fields = fields

    def get_job(self, index: CodeIndex) -> str | None:
        return index.job_id or None


class IndexSerializer(StrictSerializer):
    repository = serializers.CharField(max_length=201, help_text="owner/name")


class IndexSentSerializer(SentSerializer):
    repository = serializers.CharField()
