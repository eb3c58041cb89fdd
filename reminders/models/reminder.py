"""What fired, for whom, and how it was sent: the ledger that keeps a reminder from being sent twice."""

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q

from reminders.models.people import Channel
from reminders.models.rule import ReminderRule
from reminders.models.todo import Todo


class ReminderState(models.TextChoices):
    """due: fired, not yet handed to a delivery. held: waits for the end of quiet hours or of a pause.

    outbox: its deliveries are written. dropped: not sent, `reason` says why. expired: found more than a day late.
    """

    DUE = "due"
    HELD = "held"
    OUTBOX = "outbox"
    DROPPED = "dropped"
    EXPIRED = "expired"


WAITING = (ReminderState.DUE, ReminderState.HELD)


class Reminder(models.Model):
    """One rule that fired for one recipient at one time of its task.

    due → held → outbox | dropped | expired. A row is superseded when its task gets another date: then the same rule
    may fire again. (task, kind, recipient) is unique among those that are not.
    """

    todo = models.ForeignKey(Todo, on_delete=models.CASCADE, related_name="reminders", db_index=False)
    recipient = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=40, help_text="rule:7, overdue:0 to overdue:2, snooze:3.")
    rule = models.ForeignKey(
        ReminderRule, null=True, on_delete=models.SET_NULL, related_name="reminders", db_index=False
    )
    fire_at = models.DateTimeField(help_text="When it was to be sent.")
    schedule_version = models.PositiveIntegerField()
    fired_at = models.DateTimeField(help_text="When the scan found it.")
    late = models.BooleanField(default=False, help_text="Found more than an hour late: goes into a digest.")
    state = models.CharField(max_length=7, choices=ReminderState, default=ReminderState.DUE)
    held_until = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, default="", help_text="What held or dropped it.")
    superseded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ("view",)
        permissions = [("send_reminder", "Can have reminders scanned, sent again, or set aside ones enabled")]
        constraints = [
            models.UniqueConstraint(
                name="reminder_once", fields=["todo", "kind", "recipient"], condition=Q(superseded_at=None)
            ),
            models.CheckConstraint(name="reminder_state_known", condition=Q(state__in=ReminderState.values)),
            models.CheckConstraint(
                name="reminder_held_until_when_held",
                condition=Q(state=ReminderState.HELD, held_until__isnull=False)
                | (~Q(state=ReminderState.HELD) & Q(held_until=None)),
            ),
        ]
        indexes = [
            models.Index(name="reminder_waiting", fields=["recipient", "id"], condition=Q(state=ReminderState.DUE)),
            models.Index(name="reminder_held", fields=["held_until", "id"], condition=Q(state=ReminderState.HELD)),
            # Lists follow the numbers, which grow with time: a scan writes few entries a row, and narrow ones.
            BrinIndex(name="reminder_fired", fields=["fired_at"], pages_per_range=32, autosummarize=True),
            models.Index(name="reminder_of_person", fields=["recipient", "-id"]),
            models.Index(name="reminder_of_todo", fields=["todo", "-id"]),
            models.Index(name="reminder_of_rule", fields=["rule"], condition=Q(rule__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of todo {self.todo_id} for user {self.recipient_id} [{self.state}]"


class DeliveryState(models.TextChoices):
    """pending: its job sends it. uncertain: it may have gone, a person decides. dropped: nothing was left to say."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    DROPPED = "dropped"


class Layout(models.TextChoices):
    """single: one reminder. digest: several that fall close together. late: what was found more than an hour late."""

    SINGLE = "single"
    DIGEST = "digest"
    LATE = "late"


class ReminderDelivery(models.Model):
    """One message by one channel: the outbox. Its bytes and Message-ID are stored by `jobs.effects` before it is tried.

    pending → sent | failed | uncertain | dropped. The effect's key is `reminder:` and this row's id.
    """

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    # Always the channel's person, so that the channel's foreign key keeps it.
    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    layout = models.CharField(max_length=6, choices=Layout, default=Layout.SINGLE)
    reminders = models.ManyToManyField(Reminder, through="DeliveredReminder", related_name="deliveries")
    state = models.CharField(max_length=9, choices=DeliveryState, default=DeliveryState.PENDING)
    message_id = models.CharField(max_length=255, blank=True, default="", help_text="As the mail bears it.")
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True, default="", help_text="How the last try went wrong.")
    job_id = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "reminder deliveries"
        constraints = [
            models.CheckConstraint(name="remdelivery_state_known", condition=Q(state__in=DeliveryState.values)),
            models.CheckConstraint(
                name="remdelivery_sent_at_when_sent", condition=Q(state=DeliveryState.SENT) ^ Q(sent_at=None)
            ),
        ]
        indexes = [
            models.Index(name="remdelivery_pending", fields=["id"], condition=Q(state=DeliveryState.PENDING)),
            models.Index(name="remdelivery_unsent", fields=["id"], condition=Q(state=DeliveryState.PENDING, job_id="")),
            BrinIndex(name="remdelivery_created", fields=["created_at"], pages_per_range=32, autosummarize=True),
            # Among many that were sent, the few that somebody has to see to.
            models.Index(
                F("id").desc(),
                name="remdelivery_failed",
                condition=Q(state__in=(DeliveryState.FAILED, DeliveryState.UNCERTAIN)),
            ),
            models.Index(name="remdelivery_uncertain", fields=["id"], condition=Q(state=DeliveryState.UNCERTAIN)),
            models.Index(name="remdelivery_of_person", fields=["recipient", "-id"]),
            models.Index(name="remdelivery_of_channel", fields=["channel", "-id"]),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk} by {self.channel_id} [{self.state}]"


class DeliveredReminder(models.Model):
    """A reminder in a delivery: written by the statement that writes the delivery, which holds the reminder locked.

    Hence no foreign keys. Whoever deletes a task locks its reminders first; where a person or a channel is deleted, the
    delivery's key to its channel stops what would leave one of these behind.
    """

    delivery = models.ForeignKey(
        ReminderDelivery, on_delete=models.CASCADE, related_name="items", db_index=False, db_constraint=False
    )
    reminder = models.ForeignKey(Reminder, on_delete=models.CASCADE, related_name="items", db_constraint=False)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="delivered_once", fields=["delivery", "reminder"])]

    def __str__(self) -> str:
        return f"reminder {self.reminder_id} in delivery {self.delivery_id}"


class ScanRecord(models.Model):
    """The one row that tells when a scan last succeeded: catch-up after downtime, and the age that health shows."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    last_success_at = models.DateTimeField(null=True)
    last_fired = models.PositiveIntegerField(default=0, help_text="How many it found.")
    last_seconds = models.FloatField(default=0)

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(name="scan_record_is_one", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"last scan at {self.last_success_at}"
