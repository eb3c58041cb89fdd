"""Issues in JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from jobs.api.serializers import StrictSerializer
from reviews.models import EnrichmentState, Issue, IssueTag, TagSource
from reviews.services import issues
from reviews.services.issue_labels import MAX_LABEL, MAX_LABELS


class TagSerializer(serializers.ModelSerializer[IssueTag]):
    """A label, or one that a person took off."""

    source = serializers.ChoiceField(choices=TagSource.choices)  # type: ignore[assignment]  # a field of that name
    removed = serializers.BooleanField(help_text="A person took it off, and nothing puts it back.")

    class Meta:
        model = IssueTag
        fields = ["name", "source", "by", "confidence", "reason", "removed", "at_github"]
        read_only_fields = fields


class SimilarSerializer(serializers.Serializer[Any]):
    """An issue that resembles this one; nothing is done about it."""

    issue = serializers.IntegerField()
    number = serializers.IntegerField(allow_null=True, source="of.number")
    title = serializers.CharField(source="of.title")
    state = serializers.CharField(source="of.state")
    url = serializers.CharField(source="of.url", allow_blank=True)
    score = serializers.FloatField(help_text="0 to 1.")
    reason = serializers.CharField()


class IssueSerializer(serializers.ModelSerializer[Issue]):
    repository = serializers.CharField(
        source="repository.full_name", default=None, allow_null=True, help_text="owner/name; null: of none."
    )
    url = serializers.CharField(help_text="Where it is at GitHub; empty for one that was made here.")
    ai_summary = serializers.CharField(help_text="Plain text; empty until it is made.")
    tags = serializers.ListField(child=serializers.CharField(), help_text="The labels that it has, by whomever.")
    enrichment_state = serializers.ChoiceField(
        choices=EnrichmentState.choices, help_text="waiting: for its minutes of grace, or switched off."
    )
    enrichment_error = serializers.CharField(help_text="Why it failed, or what was left out.")
    job = serializers.SerializerMethodField(help_text="The job that enriches it, or did so last.")

    class Meta:
        model = Issue
        fields = [
            *("id", "repository", "number", "title", "author", "state", "url", "language"),
            *("ai_summary", "summary_source", "tags", "enrichment_state", "enrichment_error", "job"),
            *("created_at", "updated_at", "enriched_at"),
        ]
        read_only_fields = fields

    def get_job(self, issue: Issue) -> str | None:
        return issue.job_id or None


class IssueDetailSerializer(IssueSerializer):
    tag_details = TagSerializer(source="tag_rows", many=True, read_only=True)
    similar = serializers.SerializerMethodField(help_text="The most alike first.")

    class Meta(IssueSerializer.Meta):
        fields = [*IssueSerializer.Meta.fields, "body", "tag_details", "similar"]
        read_only_fields = fields

    @extend_schema_field(SimilarSerializer(many=True))
    def get_similar(self, issue: Issue) -> list[Any]:
        return list(SimilarSerializer(issues.similar_to(issue), many=True).data)


class _Text(serializers.CharField):
    """A string and nothing that could pass for one; its length is judged by the service."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("must be a string")
        return super().to_internal_value(data)


class NewIssueSerializer(StrictSerializer):
    repository = _Text(
        required=False, allow_null=True, allow_blank=True, max_length=201, help_text="owner/name; without it, of none."
    )
    title = _Text(help_text=f"1 to {issues.MAX_TITLE:,} characters.")
    body = _Text(
        required=False, allow_blank=True, allow_null=True, trim_whitespace=False,
        help_text=f"Markdown, up to {issues.MAX_BODY:,} characters.",
    )  # fmt: skip


class EditIssueSerializer(StrictSerializer):
    title = _Text(help_text=f"1 to {issues.MAX_TITLE:,} characters.")
    body = _Text(required=False, allow_blank=True, trim_whitespace=False)
    tags = serializers.ListField(
        child=_Text(max_length=MAX_LABEL), max_length=MAX_LABELS, required=False,
        help_text="The labels that it shall have, as a person's word: what is not named is taken off.",
    )  # fmt: skip
