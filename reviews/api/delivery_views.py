"""/api/v1/deliveries/"""

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.problems import add_meaning
from jobs.api.rows import CONFLICT, ListFilter, RowsView, RowView, choice_filter, id_parameter, text_filter, time_filter
from jobs.api.serializers import NothingSerializer
from reviews.api.base import NewestDeliveredFirst, NewestReceivedFirst
from reviews.api.review_serializers import (
    GitHubDeliveryDetailSerializer,
    GitHubDeliverySerializer,
    MissedDeliverySerializer,
    RedeliveredSerializer,
)
from reviews.models import Delivery, MissedDelivery
from reviews.operators import deliveries as operators
from reviews.services.delivery_sweep import PERMISSION

add_meaning(operators.NotRedelivered, 409, "not-redelivered")

_ID = id_parameter("delivery_id", "delivery")
_MISSED_ID = id_parameter("missed_id", "missed delivery")


class DeliveryFilter(ListFilter):
    listed = operators.deliveries
    event = text_filter("The exact event.", 64)
    action = text_filter("The exact action.", 64)
    repository = text_filter("owner/name")
    outcome = choice_filter("outcome", [(name, name) for name in operators.OUTCOMES])
    guid = text_filter("GitHub's id of it, whole.", 64)
    received_after = time_filter()
    received_before = time_filter()

    class Meta:
        model = Delivery
        fields: ClassVar[list[str]] = []


class DeliveriesView(RowsView):
    queryset = Delivery.objects.all()
    filterset_class = DeliveryFilter
    pagination_class = NewestReceivedFirst
    required_permission = "reviews.view_delivery"
    serializer_class = GitHubDeliverySerializer

    @extend_schema(operation_id="deliveries_list", responses=GitHubDeliverySerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest deliveries of GitHub first, without their payloads."""
        return self.page(GitHubDeliverySerializer)


class DeliveryView(RowView):
    required_permission = "reviews.view_delivery"
    serializer_class = GitHubDeliveryDetailSerializer

    @extend_schema(operation_id="deliveries_show", parameters=[_ID])
    def get(self, request: Request, delivery_id: int) -> Response:
        """One delivery with its payload."""
        return Response(GitHubDeliveryDetailSerializer(operators.find_delivery(delivery_id)).data)


class HandleView(RowView):
    required_permission = PERMISSION
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="deliveries_handle", parameters=[_ID], responses={200: GitHubDeliverySerializer, **CONFLICT}
    )
    def post(self, request: Request, delivery_id: int) -> Response:
        """Start anew what a stored delivery asks for; 409 where only its outline was kept."""
        self.body(request)
        return Response(GitHubDeliverySerializer(operators.handle_again(self.actor, delivery_id)).data)


class RedeliverView(RowView):
    required_permission = PERMISSION
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="deliveries_redeliver", parameters=[_ID], responses={200: RedeliveredSerializer, **CONFLICT}
    )
    def post(self, request: Request, delivery_id: int) -> Response:
        """Handle a delivery again, or have GitHub send it once more where its payload was not kept."""
        self.body(request)
        delivery, said = operators.redeliver_delivery(self.actor, delivery_id)
        return Response({**GitHubDeliverySerializer(delivery).data, "said": said})


class MissedDeliveryFilter(ListFilter):
    listed = operators.missed_deliveries
    event = text_filter("The exact event.", 64)
    access = text_filter("The App that it was for, by name.", 64)

    class Meta:
        model = MissedDelivery
        fields: ClassVar[list[str]] = []


class MissedDeliveriesView(RowsView):
    queryset = MissedDelivery.objects.all()
    filterset_class = MissedDeliveryFilter
    pagination_class = NewestDeliveredFirst
    required_permission = "reviews.view_misseddelivery"
    serializer_class = MissedDeliverySerializer

    @extend_schema(operation_id="missed_deliveries_list", responses=MissedDeliverySerializer(many=True))
    def get(self, request: Request) -> Response:
        """What GitHub delivered to Apps and was never stored here, the newest first; a sweeper asks for it again."""
        return self.page(MissedDeliverySerializer)


class MissedDeliveryView(RowView):
    required_permission = "reviews.view_misseddelivery"
    serializer_class = MissedDeliverySerializer

    @extend_schema(operation_id="missed_deliveries_show", parameters=[_MISSED_ID])
    def get(self, request: Request, missed_id: int) -> Response:
        """One missed delivery."""
        return Response(MissedDeliverySerializer(operators.find_missed(missed_id)).data)


class AskView(RowView):
    required_permission = PERMISSION
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="missed_deliveries_ask",
        parameters=[_MISSED_ID],
        responses={200: MissedDeliverySerializer, **CONFLICT},
    )
    def post(self, request: Request, missed_id: int) -> Response:
        """Have GitHub send a missed delivery at once, before the sweeper does."""
        self.body(request)
        return Response(MissedDeliverySerializer(operators.ask_for_missed(self.actor, missed_id)).data)
