"""Reminders, deliveries, channels, preferences and explanations in JSON."""

from typing import Any

from rest_framework import serializers

from jobs.api.serializers import SecretState
from reminders.api.todo_serializers import Clock
from reminders.models import (
    Channel,
    ChannelKind,
    DeliveryState,
    Layout,
    Preferences,
    Reminder,
    ReminderDelivery,
    ReminderState,
    Suppression,
)
from reminders.services import confirming


class ReminderSerializer(serializers.ModelSerializer[Reminder]):
    """A rule that fired for one person. superseded_at: its task got another date since."""

    todo = serializers.IntegerField(source="todo_id")
    title = serializers.CharField(
        source="title_of_todo", help_text="Of the task, as it is now; empty for those who do not see the task any more."
    )
    recipient = serializers.CharField(source="recipient.username")
    rule = serializers.IntegerField(source="rule_id", allow_null=True)
    state = serializers.ChoiceField(choices=ReminderState.choices)

    class Meta:
        model = Reminder
        fields = [
            *("id", "todo", "title", "recipient", "kind", "rule", "fire_at", "fired_at", "late", "state"),
            *("held_until", "reason", "superseded_at"),
        ]
        read_only_fields = fields


class ReminderDeliverySerializer(serializers.ModelSerializer[ReminderDelivery]):
    """One message by one channel. message_id: as the mail bears it."""

    recipient = serializers.CharField(source="recipient.username")
    channel = serializers.IntegerField(source="channel_id")
    kind = serializers.ChoiceField(source="channel.kind", choices=ChannelKind.choices)
    layout = serializers.ChoiceField(choices=Layout.choices)
    state = serializers.ChoiceField(choices=DeliveryState.choices)
    reminders = serializers.SerializerMethodField()
    job = serializers.CharField(source="job_id", help_text="The job that sends it.")

    class Meta:
        model = ReminderDelivery
        fields = [
            *("id", "recipient", "channel", "kind", "layout", "state", "reminders", "message_id", "attempts"),
            *("error", "job", "created_at", "sent_at"),
        ]
        read_only_fields = fields

    def get_reminders(self, delivery: ReminderDelivery) -> list[int]:
        return sorted(item.reminder_id for item in delivery.items.all())


class PreferencesSerializer(serializers.ModelSerializer[Preferences]):
    user = serializers.CharField(source="user.username")
    anchor_time = Clock()
    quiet_from = Clock(allow_null=True)
    quiet_until = Clock(allow_null=True)

    class Meta:
        model = Preferences
        fields = [
            *("user", "time_zone", "anchor_time", "quiet_from", "quiet_until", "urgent_bypasses_quiet"),
            *("digest_from", "paused_until"),
        ]
        read_only_fields = fields


class PreferencesSettingsSerializer(serializers.Serializer[Any]):
    """What is left out stays."""

    time_zone = serializers.CharField(required=False, help_text="Such as Europe/Berlin.")
    anchor_time = Clock(required=False, help_text="When you are reminded of what is due on a day, at no time of it.")
    quiet_from = Clock(required=False, allow_null=True)
    quiet_until = Clock(required=False, allow_null=True)
    urgent_bypasses_quiet = serializers.BooleanField(required=False)
    digest_from = serializers.IntegerField(required=False, help_text="2 to 100, or 0: each is sent by itself.")
    paused_until = serializers.CharField(required=False, allow_null=True, help_text="P7D, a day, or a time.")


class UpcomingSerializer(serializers.Serializer[Any]):
    todo = serializers.IntegerField(source="planned.todo_id")
    title = serializers.CharField(source="planned.todo.title")
    kind = serializers.CharField(source="planned.kind")
    what = serializers.CharField(help_text="The rule, in words.")
    fire_at = serializers.DateTimeField(source="planned.fire_at")
    local = serializers.CharField(help_text="On the person's own clock.")
    held_until = serializers.DateTimeField(allow_null=True, help_text="If quiet hours or a pause would hold it.")
    why = serializers.CharField(help_text="What would hold it, or keep it from reaching anybody.")


class ChannelSerializer(serializers.ModelSerializer[Channel]):
    """Addresses and secrets are written, and never told."""

    user = serializers.CharField(source="user.username")
    kind = serializers.ChoiceField(choices=ChannelKind.choices)
    address = SecretState()
    secret = SecretState()
    confirmation = serializers.SerializerMethodField(
        help_text="How it stands with a mail address that is not the account's: waits for confirmation, and why."
    )

    class Meta:
        model = Channel
        fields = [
            *("id", "user", "kind", "label", "address", "secret", "enabled", "unsubscribed_at", "failures"),
            *("set_aside_at", "set_aside_because", "waits_since", "confirmation", "created_at"),
        ]
        read_only_fields = fields

    def get_confirmation(self, row: Channel) -> str:
        return confirming.words(row)


def _secret(help_text: str) -> Any:
    return serializers.CharField(write_only=True, required=False, allow_blank=True, help_text=help_text)


class ChannelSettingsSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=ChannelKind.choices, required=False, help_text="It stays as it was made.")
    label = serializers.CharField(required=False, allow_blank=True, max_length=100)  # type: ignore[assignment]
    address = _secret("Mail: empty for the account's address. Webhook: an https URL. Apprise: as that library takes.")
    secret = _secret("Of a webhook: what its messages are signed with; one is made if left out.")
    enabled = serializers.BooleanField(required=False)


class CreatedChannelSerializer(ChannelSerializer):
    signing_secret = serializers.CharField(help_text="Of a webhook; told this once.")

    class Meta(ChannelSerializer.Meta):
        fields = [*ChannelSerializer.Meta.fields, "signing_secret"]
        read_only_fields = fields


class NewSecretSerializer(serializers.Serializer[Any]):
    signing_secret = serializers.CharField(help_text="Told this once.")


class TestedChannelSerializer(serializers.Serializer[Any]):
    sent = serializers.BooleanField()
    answer = serializers.CharField(help_text="What the far side said, or what went wrong.")


class SuppressionSerializer(serializers.ModelSerializer[Suppression]):
    class Meta:
        model = Suppression
        fields = ["id", "address", "reason", "created_at"]
        read_only_fields = fields


class ScanSerializer(serializers.Serializer[Any]):
    job = serializers.CharField(help_text="The job that scans.")


class SentReminderSerializer(serializers.Serializer[Any]):
    delivery = serializers.IntegerField()
    channel = serializers.CharField()
    state = serializers.ChoiceField(choices=DeliveryState.choices)
    at = serializers.DateTimeField(help_text="When it was sent, or else written.")
    local = serializers.CharField()
    message_id = serializers.CharField()
    error = serializers.CharField()
    words = serializers.CharField()


class ExplainedRuleSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="rule:7, overdue:0 to overdue:2, snooze:3.")
    what = serializers.CharField(help_text="The rule, in words.")
    applies = serializers.BooleanField(help_text="Whether it is for this person.")
    words = serializers.CharField(help_text="Why it did, did not or will remind them, in a sentence.")
    next_at = serializers.DateTimeField(allow_null=True)
    next_local = serializers.CharField()
    fired_at = serializers.DateTimeField(allow_null=True)
    state = serializers.CharField(help_text="Of the reminder that fired.")
    held_until = serializers.DateTimeField(allow_null=True)
    sent = SentReminderSerializer(many=True)
    earlier = serializers.ListField(child=serializers.CharField(), help_text="What fired for former dates.")


class ExplanationSerializer(serializers.Serializer[Any]):
    todo = serializers.IntegerField(source="todo.pk")
    title = serializers.CharField(source="todo.title")
    user = serializers.CharField(source="user.username")
    time_zone = serializers.CharField(source="zone")
    asked_at = serializers.DateTimeField()
    summary = serializers.CharField()
    notes = serializers.ListField(child=serializers.CharField())
    rules = ExplainedRuleSerializer(many=True)
    scanned_at = serializers.DateTimeField(allow_null=True, help_text="When a scan last succeeded.")
