"""/api/v1/effects/"""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.pagination import NewestFirst
from jobs.api.serializers import AnyJson, StrictBoolean, StrictSerializer
from jobs.api.views import ApiView
from jobs.models import Effect, EffectState
from jobs.operators import effects as operators

_ID = OpenApiParameter("effect_id", int, OpenApiParameter.PATH, description="The effect's number.")


class EffectSerializer(serializers.ModelSerializer[Effect]):
    """An effect as people see it: without what is sent, which may be private."""

    job = serializers.CharField(source="job_id", allow_null=True, help_text="The job that tried it last.")
    state = serializers.ChoiceField(choices=EffectState.choices)
    receipt = AnyJson(help_text="What the far side answered, for example its id.")

    class Meta:
        model = Effect
        fields = [
            *("id", "key", "job", "kind", "target", "state", "identity", "receipt", "error", "attempts", "doubts"),
            *("created_at", "tried_at", "deadline_at", "done_at", "decided_at", "decided_by", "decision_reason"),
            *("check_at", "copies"),
        ]
        read_only_fields = fields


class DecidedSerializer(EffectSerializer):
    job_retried = serializers.BooleanField(read_only=True)
    why_not_retried = serializers.CharField(read_only=True, allow_blank=True)

    class Meta(EffectSerializer.Meta):
        fields = [*EffectSerializer.Meta.fields, "job_retried", "why_not_retried"]
        read_only_fields = fields


class DecideSerializer(StrictSerializer):
    happened = StrictBoolean(help_text="True: its job passes over it. False: its job tries it again.")
    reason = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=operators.MAX_REASON, help_text="How this is known."
    )
    retry = StrictBoolean(required=False, default=False, help_text="Retry its job too, if it is failed or cancelled.")


class EffectFilter(filters.FilterSet):
    """An unknown state is refused rather than finding nothing."""

    state = filters.MultipleChoiceFilter(
        choices=EffectState.choices,
        help_text="May be given several times.",
        error_messages={"invalid_choice": f"unknown state %(value)r; choose from: {', '.join(EffectState.values)}"},
    )
    kind = filters.CharFilter(max_length=64, help_text="The exact kind.")
    job = filters.CharFilter(field_name="job_id", max_length=255, help_text="The id of the job that tried it last.")
    search = filters.CharFilter(method="by_key", max_length=255, help_text="The beginning of the key.")

    class Meta:
        model = Effect
        fields: ClassVar[list[str]] = []

    def by_key(self, queryset: QuerySet[Effect], name: str, text: str) -> QuerySet[Effect]:
        return operators.with_key(queryset, text)


class NewestEffectsFirst(NewestFirst):
    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            if not (position[1].isascii() and position[1].isdigit() and int(position[1]) <= operators.LARGEST_ID):
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
            position[1] = int(position[1])
        return backwards, position


class EffectsView(ApiView):
    queryset = operators.effects()
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = EffectFilter
    pagination_class = NewestEffectsFirst
    required_permission = "jobs.view_effect"
    serializer_class = EffectSerializer

    @extend_schema(operation_id="effects_list", responses=EffectSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest outside effects first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(EffectSerializer(page, many=True).data)


class EffectView(ApiView):
    pagination_class = None
    required_permission = "jobs.view_effect"
    serializer_class = EffectSerializer

    @extend_schema(operation_id="effects_show", parameters=[_ID], responses=EffectSerializer)
    def get(self, request: Request, effect_id: int) -> Response:
        """One outside effect."""
        return Response(EffectSerializer(operators.find_effect(effect_id)).data)


class DecideView(ApiView):
    pagination_class = None
    required_permission = "jobs.decide_effect"
    serializer_class = DecideSerializer

    @extend_schema(
        operation_id="effects_decide",
        parameters=[_ID],
        responses={200: DecidedSerializer, 409: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, effect_id: int) -> Response:
        """Say whether an uncertain effect happened."""
        decided = operators.decide_effect(self.actor, effect_id, **self.body(request))
        effect = dict(EffectSerializer(decided.effect).data)
        return Response({**effect, "job_retried": decided.job_retried, "why_not_retried": decided.why_not})
