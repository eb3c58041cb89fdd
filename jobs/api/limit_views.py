"""/api/v1/limits/, and limits, pause and resume under /api/v1/queues/{name}/ and /api/v1/tasks/{name}/"""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.serializers import NothingSerializer, StrictSerializer
from jobs.api.views import ApiView, whole_list
from jobs.models import Scope
from jobs.operators import limits


class LimitStateSerializer(serializers.Serializer[Any]):
    """What holds a queue, a task or everything back."""

    scope = serializers.ChoiceField(choices=Scope.choices)
    name = serializers.CharField(allow_blank=True, help_text="The queue's or the task's; empty for everything.")
    concurrency = serializers.IntegerField(allow_null=True, help_text="Jobs that run at once, over all workers.")
    key_concurrency = serializers.IntegerField(allow_null=True, help_text="The same, of one limit key.")
    rate = serializers.IntegerField(allow_null=True, help_text="Runs that begin within any `rate_seconds`.")
    rate_seconds = serializers.IntegerField(allow_null=True)
    paused = serializers.BooleanField()
    paused_at = serializers.DateTimeField(allow_null=True)
    pause_reason = serializers.CharField(allow_blank=True)
    paused_by = serializers.CharField(allow_blank=True)
    resume_at = serializers.DateTimeField(allow_null=True, help_text="When the pause ends by itself.")
    changed_at = serializers.DateTimeField(allow_null=True)
    changed_by = serializers.CharField(allow_blank=True)
    text = serializers.CharField(allow_blank=True, help_text="All of it in words.")


class StrictInteger(serializers.IntegerField):
    """A JSON number without a fraction; what it may be, the service tells."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, bool) or not isinstance(data, int):
            raise serializers.ValidationError("must be a whole number")
        return data


class LimitsSerializer(StrictSerializer):
    concurrency = StrictInteger(required=False, allow_null=True, help_text="From 1; null: no limit.")
    key_concurrency = StrictInteger(required=False, allow_null=True, help_text="From 1; null: no limit.")
    rate = StrictInteger(required=False, allow_null=True, help_text="From 1; null: no limit.")
    rate_seconds = StrictInteger(required=False, help_text="The period of the rate, up to 31 days.")


class PauseSerializer(StrictSerializer):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=limits.MAX_REASON)
    for_seconds = serializers.FloatField(required=False, allow_null=True, help_text="Ends by itself after so long.")
    resume_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Ends by itself then.")


_PAGE = inline_serializer(
    "LimitPage",
    {
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
        "results": LimitStateSerializer(many=True),
    },
)


class LimitsView(ApiView):
    pagination_class = None
    required_to_change = "jobs.manage_limits"
    serializer_class = LimitsSerializer

    @extend_schema(operation_id="limits_list", responses=_PAGE)
    def get(self, request: Request) -> Response:
        """Limits and pauses: of everything, of each queue, and of the tasks that have had any."""
        return whole_list(list(LimitStateSerializer(limits.limit_states(), many=True).data))

    @extend_schema(operation_id="limits_change", responses=LimitStateSerializer)
    def patch(self, request: Request) -> Response:
        """Change the limits of everything that are named; null takes one away."""
        changed = limits.set_limits(self.actor, Scope.EVERYTHING, "", self.body(request, partial=True))
        return Response(LimitStateSerializer(changed).data)


class ScopedView(ApiView):
    """One queue, one task, or everything; which, the URL says."""

    pagination_class = None
    scope: str = Scope.EVERYTHING

    def shown(self, state: limits.LimitState) -> Response:
        return Response(LimitStateSerializer(state).data)


class ScopedLimitsView(ScopedView):
    required_to_change = "jobs.manage_limits"
    serializer_class = LimitsSerializer

    @extend_schema(responses=LimitStateSerializer)
    def get(self, request: Request, name: str = "") -> Response:
        """Its limits, and its pause."""
        return self.shown(limits.find_limit(self.scope, name))

    @extend_schema(responses=LimitStateSerializer)
    def patch(self, request: Request, name: str = "") -> Response:
        """Change the limits that are named; null takes one away. In force at once, over all workers."""
        return self.shown(limits.set_limits(self.actor, self.scope, name, self.body(request, partial=True)))


class PauseView(ScopedView):
    required_permission = "jobs.pause_queue"
    serializer_class = PauseSerializer

    @extend_schema(responses=LimitStateSerializer)
    def post(self, request: Request, name: str = "") -> Response:
        """Let none of its jobs start until it is resumed; what runs goes on."""
        return self.shown(limits.pause(self.actor, self.scope, name, **self.body(request)))


class ResumeView(ScopedView):
    required_permission = "jobs.pause_queue"
    serializer_class = NothingSerializer

    @extend_schema(responses=LimitStateSerializer)
    def post(self, request: Request, name: str = "") -> Response:
        """End its pause."""
        self.body(request)
        return self.shown(limits.resume(self.actor, self.scope, name))
