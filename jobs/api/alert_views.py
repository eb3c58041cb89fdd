"""/api/v1/alerts/"""

from typing import Any

from django.db.models import Prefetch
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.limit_views import StrictInteger
from jobs.api.pagination import ByName, NewestFirst
from jobs.api.serializers import NothingSerializer, StrictBoolean, StrictSerializer
from jobs.api.views import ApiView
from jobs.models import Alert, AlertDelivery, AlertEvent, AlertEventKind, AlertKind, Channel, DeliveryState
from jobs.operators import alerts as operators
from jobs.watch.channels import shown_url

_ID = OpenApiParameter("alert_id", int, OpenApiParameter.PATH, description="The alert's number.")


class AlertSerializer(serializers.ModelSerializer[Alert]):
    """An alert. Of its webhook's URL only the host: the path may hold a secret."""

    kind = serializers.ChoiceField(choices=AlertKind.choices)
    state = serializers.ChoiceField(choices=["disabled", "ok", "pending", "firing"], read_only=True)
    mail_to = serializers.ListField(child=serializers.CharField())
    webhook = serializers.SerializerMethodField(help_text="Scheme and host of the webhook; empty without one.")

    class Meta:
        model = Alert
        fields = [
            *("id", "name", "state", "kind", "queue", "task", *operators.NUMBERS, "enabled", "mail_to", "webhook"),
            *("value", "looked_at", "breached_since", "firing_since", "fired_at"),
            *("created_at", "changed_at", "changed_by"),
        ]
        read_only_fields = fields

    def get_webhook(self, alert: Alert) -> str:
        return shown_url(alert.webhook_url)


class DeliverySerializer(serializers.ModelSerializer[AlertDelivery]):
    channel = serializers.ChoiceField(choices=Channel.choices)
    state = serializers.ChoiceField(choices=DeliveryState.choices)

    class Meta:
        model = AlertDelivery
        fields = ["channel", "state", "attempts", "next_at", "sent_at", "error"]
        read_only_fields = fields


class AlertEventSerializer(serializers.ModelSerializer[AlertEvent]):
    kind = serializers.ChoiceField(choices=AlertEventKind.choices)
    deliveries = DeliverySerializer(many=True)

    class Meta:
        model = AlertEvent
        fields = ["id", "at", "kind", "value", "text", "deliveries"]
        read_only_fields = fields


class AlertDetailSerializer(AlertSerializer):
    events = serializers.SerializerMethodField(help_text="The newest, at most 20; events/ has all.")

    class Meta(AlertSerializer.Meta):
        fields = [*AlertSerializer.Meta.fields, "events"]
        read_only_fields = fields

    @extend_schema_field(AlertEventSerializer(many=True))
    def get_events(self, alert: Alert) -> list[Any]:
        return list(AlertEventSerializer(operators.newest_events(alert), many=True).data)


class AlertSpecSerializer(StrictSerializer):
    """What may be, the service says."""

    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(
        choices=AlertKind.choices,
        help_text="failed: jobs that failed in the last window_seconds; oldest: seconds that the oldest job waits; "
        "waiting: jobs that wait; age: seconds since a task succeeded last.",
    )
    queue = serializers.CharField(required=False, allow_blank=True, help_text="Empty: all queues.")
    task = serializers.CharField(
        required=False, allow_blank=True, help_text="For failed, empty: all tasks; for age, whose."
    )
    threshold = StrictInteger(help_text="Reached at this many jobs, or seconds.")
    window_seconds = StrictInteger(required=False, help_text="From 10 to 604,800; 900 if left out.")
    for_seconds = StrictInteger(required=False, help_text="How long it must be reached before it fires.")
    cooldown_seconds = StrictInteger(required=False, help_text="It fires again no sooner; 3600 if left out.")
    enabled = StrictBoolean(required=False)
    mail_to = serializers.ListField(child=serializers.CharField(max_length=254), required=False, max_length=20)
    webhook_url = serializers.CharField(
        required=False, allow_blank=True, max_length=2000, help_text="Never shown again; empty takes it away."
    )


class SecretSpecSerializer(StrictSerializer):
    rotate = StrictBoolean(required=False, default=False, help_text="Make a new one, in force at once.")


class SecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="The receiver checks the header webhook-signature by it.")


class NewestEvents(NewestFirst):
    ordering = ("-at", "-id")

    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            number = position[1]
            if not (number.isascii() and number.isdigit() and len(number) < 19):
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
        return backwards, position


class AlertsView(ApiView):
    queryset = operators.alerts()
    pagination_class = ByName
    required_permission = "jobs.view_alert"
    required_to_change = "jobs.add_alert"
    serializer_class = AlertSpecSerializer

    @extend_schema(operation_id="alerts_list", responses=AlertSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Alerts by name, with their states."""
        page = self.paginate_queryset(operators.alerts())
        return self.get_paginated_response(AlertSerializer(page, many=True).data)

    @extend_schema(operation_id="alerts_create", responses={201: AlertDetailSerializer})
    def post(self, request: Request) -> Response:
        """Make an alert. `secret/` tells what its webhook signs with."""
        alert = operators.create_alert(self.actor, self.body(request))
        headers = {"Location": f"/api/v1/alerts/{alert.pk}/"}
        return Response(AlertDetailSerializer(alert).data, status=201, headers=headers)


class AlertView(ApiView):
    pagination_class = None
    required_permission = "jobs.view_alert"
    required_by_method = {"PATCH": "jobs.change_alert", "DELETE": "jobs.delete_alert"}
    serializer_class = AlertSpecSerializer

    @extend_schema(operation_id="alerts_show", parameters=[_ID], responses=AlertDetailSerializer)
    def get(self, request: Request, alert_id: int) -> Response:
        """One alert, with its newest events and whether they were told."""
        return Response(AlertDetailSerializer(operators.find_alert(alert_id)).data)

    @extend_schema(operation_id="alerts_change", parameters=[_ID], responses=AlertDetailSerializer)
    def patch(self, request: Request, alert_id: int) -> Response:
        """Change the fields that are named."""
        alert = operators.change_alert(self.actor, alert_id, self.body(request, partial=True))
        return Response(AlertDetailSerializer(alert).data)

    @extend_schema(operation_id="alerts_delete", parameters=[_ID], responses={204: None})
    def delete(self, request: Request, alert_id: int) -> Response:
        """Delete an alert with its history."""
        operators.delete_alert(self.actor, alert_id)
        return Response(status=204)


class SwitchView(ApiView):
    pagination_class = None
    required_permission = "jobs.change_alert"
    serializer_class = NothingSerializer
    enabled = True

    @extend_schema(parameters=[_ID], responses=AlertDetailSerializer)
    def post(self, request: Request, alert_id: int) -> Response:
        """Switch it on or off. One that fires is closed without a message."""
        self.body(request)
        alert = operators.enable_alert(self.actor, alert_id, self.enabled)
        return Response(AlertDetailSerializer(alert).data)


class TryView(ApiView):
    pagination_class = None
    required_permission = "jobs.change_alert"
    serializer_class = NothingSerializer

    @extend_schema(operation_id="alerts_test", parameters=[_ID], responses={202: AlertEventSerializer})
    def post(self, request: Request, alert_id: int) -> Response:
        """Send a test message by each of its channels, in the background; the alert's events tell what became of it."""
        self.body(request)
        event = operators.try_alert(self.actor, alert_id)
        return Response(AlertEventSerializer(event).data, status=202)


class SecretView(ApiView):
    pagination_class = None
    required_permission = "jobs.change_alert"
    serializer_class = SecretSpecSerializer

    @extend_schema(operation_id="alerts_secret", parameters=[_ID], responses=SecretSerializer)
    def post(self, request: Request, alert_id: int) -> Response:
        """What its webhook signs with. Each look at it is in the audit log."""
        secret = operators.webhook_secret(self.actor, alert_id, **self.body(request))
        return Response({"secret": secret}, headers={"Cache-Control": "no-store"})


class EventsView(ApiView):
    queryset = AlertEvent.objects.all()
    pagination_class = NewestEvents
    required_permission = "jobs.view_alert"
    serializer_class = AlertEventSerializer

    @extend_schema(operation_id="alerts_events", parameters=[_ID], responses=AlertEventSerializer(many=True))
    def get(self, request: Request, alert_id: int) -> Response:
        """All that became of an alert, the newest first."""
        alert = operators.find_alert(alert_id)
        deliveries = Prefetch("deliveries", AlertDelivery.objects.order_by("channel"))
        page = self.paginate_queryset(alert.events.prefetch_related(deliveries))
        return self.get_paginated_response(AlertEventSerializer(page, many=True).data)
