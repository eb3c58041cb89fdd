"""/api/v1/reminder-channels/"""

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.rows import (
    CONFLICT,
    boolean_filter,
    choice_filter,
    given,
    id_parameter,
    refusals,
    text_filter,
)
from jobs.api.serializers import NothingSerializer
from reminders.api.common import ActorFilter, PeopleRowsView, PeopleRowView, made_headers
from reminders.api.reminder_serializers import (
    ChannelSerializer,
    ChannelSettingsSerializer,
    CreatedChannelSerializer,
    NewSecretSerializer,
    TestedChannelSerializer,
)
from reminders.api.rule_views import USER
from reminders.models import Channel, ChannelKind
from reminders.operators import access
from reminders.operators import reminders as operators
from reminders.services import channels

_ID = id_parameter("channel_id", "channel")


class ChannelFilter(ActorFilter):
    listed = operators.ways
    user = text_filter("An account's name.", 150)
    kind = choice_filter("kind", ChannelKind.choices)
    usable = boolean_filter("Whether reminders go by it.")

    class Meta:
        model = Channel
        fields: ClassVar[list[str]] = []


class ChannelsView(PeopleRowsView):
    queryset = Channel.objects.all()
    filterset_class = ChannelFilter
    serializer_class = ChannelSettingsSerializer

    @extend_schema(operation_id="reminder_channels_list", responses=ChannelSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The ways by which you are reminded, the newest first; with `reminders.view_channel`, of all."""
        return self.page(ChannelSerializer)

    @extend_schema(
        operation_id="reminder_channels_create",
        parameters=[USER],
        responses={201: CreatedChannelSerializer},
        filters=False,
    )
    def post(self, request: Request) -> Response:
        """Enter a way to be reminded. A webhook's signing secret is told this once."""
        user = access.require_self_or(self.actor, request.query_params.get("user", ""), "add_channel")
        with refusals():
            made = channels.create_channel(self.actor, user.pk, given(request))
        shown = {**ChannelSerializer(made.channel).data, "signing_secret": _told(made.channel, made.secret)}
        headers = made_headers(reverse("reminder-channel", args=[made.channel.pk], request=request), False)
        return Response(shown, status=status.HTTP_201_CREATED, headers=headers)


def _told(channel: Channel, secret: str) -> str:
    return secret if channel.kind == ChannelKind.WEBHOOK else ""


class ChannelView(PeopleRowView):
    serializer_class = ChannelSettingsSerializer

    @extend_schema(operation_id="reminder_channels_show", parameters=[_ID], responses=ChannelSerializer)
    def get(self, request: Request, channel_id: int) -> Response:
        """One channel; of its address and secret, whether they are entered."""
        return Response(ChannelSerializer(channels.find_channel(self.actor, channel_id)).data)

    @extend_schema(operation_id="reminder_channels_change", parameters=[_ID], responses=ChannelSerializer)
    def patch(self, request: Request, channel_id: int) -> Response:
        """Change what is named; with another address it is no longer set aside."""
        with refusals():
            channel = channels.change_channel(self.actor, channel_id, given(request))
        return Response(ChannelSerializer(channel).data)

    @extend_schema(operation_id="reminder_channels_delete", parameters=[_ID], responses={204: None, **CONFLICT})
    def delete(self, request: Request, channel_id: int) -> Response:
        """Delete a channel, with the record of what it delivered."""
        channels.delete_channel(self.actor, channel_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class EnableChannelView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(operation_id="reminder_channels_enable", parameters=[_ID], responses=ChannelSerializer)
    def post(self, request: Request, channel_id: int) -> Response:
        """Use it again, whatever kept it from being used."""
        self.body(request)
        return Response(ChannelSerializer(channels.enable_channel(self.actor, channel_id)).data)


class AskAgainView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="reminder_channels_ask",
        parameters=[_ID],
        responses={200: ChannelSerializer, **CONFLICT},
    )
    def post(self, request: Request, channel_id: int) -> Response:
        """Send the mail once more whose link confirms the channel's address; nobody else can confirm it."""
        self.body(request)
        return Response(ChannelSerializer(channels.ask_again(self.actor, channel_id)).data)


class TestChannelView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="reminder_channels_test", parameters=[_ID], responses={200: TestedChannelSerializer, **CONFLICT}
    )
    def post(self, request: Request, channel_id: int) -> Response:
        """Send a test message now."""
        self.body(request)
        return Response(TestedChannelSerializer(channels.send_test(self.actor, channel_id)).data)


class NewSecretView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="reminder_channels_new_secret", parameters=[_ID], responses={200: NewSecretSerializer, **CONFLICT}
    )
    def post(self, request: Request, channel_id: int) -> Response:
        """Have a webhook sign with another secret from now on."""
        self.body(request)
        return Response({"signing_secret": channels.new_secret(self.actor, channel_id)})
