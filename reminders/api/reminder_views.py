"""/api/v1/reminders/, reminder-deliveries/, reminder-preferences/ and suppressions/"""

from typing import ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.problems import add_meaning
from jobs.api.rows import (
    CONFLICT,
    NewestNumbersFirst,
    choice_filter,
    given,
    id_parameter,
    number_filter,
    refusals,
    text_filter,
    time_filter,
)
from jobs.api.serializers import NothingSerializer
from jobs.api.views import page_of, whole_list
from jobs.operators.lookups import LARGEST_ID
from reminders.api.common import ActorFilter, PeopleRowsView, PeopleRowView
from reminders.api.reminder_serializers import (
    ExplanationSerializer,
    PreferencesSerializer,
    PreferencesSettingsSerializer,
    ReminderDeliverySerializer,
    ReminderSerializer,
    ScanSerializer,
    SuppressionSerializer,
    UpcomingSerializer,
)
from reminders.api.rule_views import USER
from reminders.models import ChannelKind, DeliveryState, Layout, Reminder, ReminderDelivery, ReminderState, Suppression
from reminders.operators import explaining, people
from reminders.operators import reminders as operators
from reminders.services import channels

add_meaning(channels.ChannelRefused, 409, "channel-refused")

_TODO = OpenApiParameter("todo", int, required=True, description="The task's number.")


class ReminderFilter(ActorFilter):
    listed = operators.reminders
    recipient = text_filter("An account's name.", 150)
    todo = number_filter("The task's number.", LARGEST_ID)
    state = choice_filter("state", ReminderState.choices)
    kind = text_filter("The beginning of its kind, such as overdue or snooze.", 40)
    fired_after = time_filter()
    fired_before = time_filter()

    class Meta:
        model = Reminder
        fields: ClassVar[list[str]] = []


class RemindersView(PeopleRowsView):
    queryset = Reminder.objects.all()
    filterset_class = ReminderFilter
    pagination_class = NewestNumbersFirst
    serializer_class = ReminderSerializer

    @extend_schema(operation_id="reminders_list", responses=ReminderSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Your reminders that fired, the newest first; with `reminders.view_reminder`, all."""
        return self.page(ReminderSerializer)


class ReminderView(PeopleRowView):
    serializer_class = ReminderSerializer

    @extend_schema(operation_id="reminders_show", parameters=[id_parameter("reminder_id", "reminder")])
    def get(self, request: Request, reminder_id: int) -> Response:
        """One reminder, and what became of it."""
        return Response(ReminderSerializer(operators.find_reminder(self.actor, reminder_id)).data)


class ExplainView(PeopleRowView):
    parameters = frozenset({"todo", "user"})
    serializer_class = ExplanationSerializer

    @extend_schema(operation_id="reminders_explain", parameters=[_TODO, USER], responses=ExplanationSerializer)
    def get(self, request: Request) -> Response:
        """Why somebody was, was not, or will be reminded of a task: every rule in a sentence."""
        text = request.query_params.get("todo", "")
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise ValidationError({"todo": [f"{text[:40]!r} is not the number of a task"]})
        explanation = explaining.explain_todo(self.actor, int(text), request.query_params.get("user", ""))
        return Response(ExplanationSerializer(explanation).data)


class ScanView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(operation_id="reminders_scan", responses={202: ScanSerializer})
    def post(self, request: Request) -> Response:
        """Have what is due found now, by a job, instead of within a minute."""
        self.body(request)
        job_id = operators.scan_now(self.actor)
        return Response(ScanSerializer({"job": job_id}).data, status=status.HTTP_202_ACCEPTED)


# --- Deliveries -------------------------------------------------------------------------------------------------------


class DeliveryFilter(ActorFilter):
    listed = operators.deliveries
    recipient = text_filter("An account's name.", 150)
    todo = number_filter("The task's number.", LARGEST_ID)
    state = choice_filter("state", DeliveryState.choices)
    layout = choice_filter("layout", Layout.choices)
    kind = choice_filter("kind of channel", ChannelKind.choices)
    created_after = time_filter()
    created_before = time_filter()

    class Meta:
        model = ReminderDelivery
        fields: ClassVar[list[str]] = []


class DeliveriesView(PeopleRowsView):
    queryset = ReminderDelivery.objects.all()
    filterset_class = DeliveryFilter
    pagination_class = NewestNumbersFirst
    serializer_class = ReminderDeliverySerializer

    @extend_schema(operation_id="reminder_deliveries_list", responses=ReminderDeliverySerializer(many=True))
    def get(self, request: Request) -> Response:
        """Messages to you, the newest first; with `reminders.view_reminderdelivery`, to all."""
        return self.page(ReminderDeliverySerializer)


_DELIVERY = id_parameter("delivery_id", "delivery")


class DeliveryView(PeopleRowView):
    serializer_class = ReminderDeliverySerializer

    @extend_schema(operation_id="reminder_deliveries_show", parameters=[_DELIVERY])
    def get(self, request: Request, delivery_id: int) -> Response:
        """One message."""
        return Response(ReminderDeliverySerializer(operators.find_delivery(self.actor, delivery_id)).data)


class RetryView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="reminder_deliveries_retry",
        parameters=[_DELIVERY],
        responses={200: ReminderDeliverySerializer, **CONFLICT},
    )
    def post(self, request: Request, delivery_id: int) -> Response:
        """Send again what failed, by a new job."""
        self.body(request)
        row = channels.retry_delivery(self.actor, delivery_id)
        found = operators.deliveries(self.actor).filter(pk=row.pk).first() or row
        return Response(ReminderDeliverySerializer(found).data)


# --- People -----------------------------------------------------------------------------------------------------------


class PreferencesView(PeopleRowView):
    parameters = frozenset({"user"})
    serializer_class = PreferencesSettingsSerializer

    @extend_schema(operation_id="reminder_preferences_show", parameters=[USER], responses=PreferencesSerializer)
    def get(self, request: Request) -> Response:
        """Your clock, hours and habits; or those of others, for operators."""
        kept = people.preferences(self.actor, request.query_params.get("user", ""))
        return Response(PreferencesSerializer(kept).data)

    @extend_schema(operation_id="reminder_preferences_change", parameters=[USER], responses=PreferencesSerializer)
    def patch(self, request: Request) -> Response:
        """Change what is named; your tasks are planned anew by a job."""
        with refusals():
            kept = people.change_preferences(self.actor, given(request), request.query_params.get("user", ""))
        return Response(PreferencesSerializer(kept).data)


class UpcomingView(PeopleRowView):
    parameters = frozenset({"user"})
    serializer_class = UpcomingSerializer

    @extend_schema(
        operation_id="reminder_preferences_preview",
        parameters=[USER],
        responses=page_of(UpcomingSerializer, "UpcomingPage"),
    )
    def get(self, request: Request) -> Response:
        """What comes to you next, up to 50, with what would hold it."""
        ahead = people.upcoming(self.actor, request.query_params.get("user", ""), 50)
        return whole_list(list(UpcomingSerializer(ahead, many=True).data))


class SuppressionFilter(ActorFilter):
    listed = operators.suppressions
    search = text_filter("The beginning of an address.")

    class Meta:
        model = Suppression
        fields: ClassVar[list[str]] = []


class SuppressionsView(PeopleRowsView):
    queryset = Suppression.objects.all()
    filterset_class = SuppressionFilter
    serializer_class = SuppressionSerializer

    @extend_schema(operation_id="suppressions_list", responses=SuppressionSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Addresses that refused mail for good, the newest first: your own; with `reminders.view_suppression`, all."""
        return self.page(SuppressionSerializer)


class SuppressionView(PeopleRowView):
    serializer_class = SuppressionSerializer

    @extend_schema(
        operation_id="suppressions_lift",
        parameters=[id_parameter("suppression_id", "suppressed address")],
        responses={204: None},
    )
    def delete(self, request: Request, suppression_id: int) -> Response:
        """Mail the address again."""
        channels.lift_suppression(self.actor, suppression_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
