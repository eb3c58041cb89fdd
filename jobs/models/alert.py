"""Alerts, and what became of telling people; and the counts that metrics are made of."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class AlertKind(models.TextChoices):
    """What an alert measures."""

    FAILED = "failed", "failed jobs in a window"
    OLDEST = "oldest", "backlog: seconds that the oldest job waits"
    WAITING = "waiting", "backlog: jobs that wait"
    AGE = "age", "seconds since a task succeeded last"


class Alert(models.Model):
    """A threshold, and whom to tell when it is reached and when it no longer is.

    ok → pending (reached, not yet for long enough, or in the cool-down) → firing → ok.
    The times and the value are written by `jobs.watch.alerts`, by Postgres' clock; the rest by operators.
    """

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=8, choices=AlertKind)
    queue = models.CharField(max_length=64, blank=True, default="", help_text="Empty: all queues.")
    task = models.CharField(
        max_length=255, blank=True, default="", help_text="Of failed jobs; empty: all tasks. Of an age: whose."
    )
    threshold = models.PositiveIntegerField(help_text="Reached at this many jobs, or seconds.")
    window_seconds = models.PositiveIntegerField(default=900, help_text="How far back failed jobs count.")
    for_seconds = models.PositiveIntegerField(default=0, help_text="How long it must be reached before it fires.")
    cooldown_seconds = models.PositiveIntegerField(default=3600, help_text="It fires again no sooner than this.")
    enabled = models.BooleanField(default=True)

    mail_to = ArrayField(models.EmailField(max_length=254), default=list, blank=True)
    # Chat services put a secret into the path, so it is shown in part only.
    webhook_url = models.CharField(max_length=2000, blank=True, default="")
    webhook_key = models.UUIDField(default=uuid.uuid4, help_text="What the signing secret is derived from.")

    value = models.FloatField(null=True, help_text="As last measured.")
    looked_at = models.DateTimeField(null=True)
    breached_since = models.DateTimeField(null=True, help_text="Since when the threshold is reached.")
    firing_since = models.DateTimeField(null=True)
    fired_at = models.DateTimeField(null=True, help_text="When it fired last; the cool-down counts from then.")

    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(name="alert_kind_known", condition=Q(kind__in=AlertKind.values)),
            models.CheckConstraint(name="alert_threshold_from_1", condition=Q(threshold__gte=1)),
            models.CheckConstraint(
                name="alert_fires_when_breached",
                condition=Q(firing_since__isnull=True) | Q(breached_since__isnull=False, fired_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """disabled, ok, pending or firing."""
        if not self.enabled:
            return "disabled"
        if self.firing_since is not None:
            return "firing"
        return "pending" if self.breached_since is not None else "ok"


class AlertEventKind(models.TextChoices):
    FIRED = "fired"
    RECOVERED = "recovered"
    CLOSED = "closed", "disabled while firing"
    TESTED = "tested"


class AlertEvent(models.Model):
    """An alert fired, recovered or was tested."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events", db_index=False)
    at = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=9, choices=AlertEventKind)
    value = models.FloatField(null=True)
    text = models.TextField(help_text="What was measured, in one sentence.")
    detail = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index("alert", F("at").desc(), F("id").desc(), name="alertevent_newest"),
            models.Index("at", name="alertevent_at"),
        ]

    def __str__(self) -> str:
        return f"{self.alert_id} {self.kind}"


class Channel(models.TextChoices):
    MAIL = "mail"
    WEBHOOK = "webhook"


class DeliveryState(models.TextChoices):
    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


class AlertDelivery(models.Model):
    """One message of an event through one channel. waiting → sent | failed."""

    event = models.ForeignKey(AlertEvent, on_delete=models.CASCADE, related_name="deliveries")
    channel = models.CharField(max_length=7, choices=Channel)
    state = models.CharField(
        max_length=7, choices=DeliveryState, default=DeliveryState.WAITING, db_default=DeliveryState.WAITING
    )
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    next_at = models.DateTimeField(db_default=Now(), help_text="Not tried before this time.")
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, default="", db_default="", help_text="How the last try went wrong.")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(name="delivery_once_a_channel", fields=["event", "channel"]),
            models.CheckConstraint(name="delivery_sent_at_when_sent", condition=Q(state="sent") ^ Q(sent_at=None)),
        ]
        indexes = [models.Index(name="delivery_waiting", fields=["next_at"], condition=Q(state="waiting"))]

    def __str__(self) -> str:
        return f"{self.channel} of {self.event_id} [{self.state}]"


class RollUp(models.Model):
    """Counts since this table was made, added to in the background (`jobs.watch.rollup`): metrics read no history.

    measure run: ended runs by outcome; finish: finished jobs by state, in `outcome`; event: events of jobs by kind.
    Buckets are counts for each of `BOUNDS`, not cumulative; the last one is of what lies beyond.
    """

    measure = models.CharField(max_length=6)
    task = models.CharField(max_length=255, blank=True, default="")
    queue = models.CharField(max_length=64, blank=True, default="")
    outcome = models.CharField(max_length=24)
    count = models.BigIntegerField(default=0)
    run_seconds = models.FloatField(default=0)
    run_buckets = ArrayField(models.BigIntegerField(), default=list)
    wait_count = models.BigIntegerField(default=0)
    wait_seconds = models.FloatField(default=0)
    wait_buckets = ArrayField(models.BigIntegerField(), default=list)

    class Meta:
        default_permissions = ()
        permissions = [("view_metrics", "Can read /metrics")]
        constraints = [
            models.UniqueConstraint(name="rollup_once", fields=["measure", "task", "queue", "outcome"]),
        ]

    def __str__(self) -> str:
        return f"{self.measure} {self.task} {self.outcome}"


class RollUpMark(models.Model):
    """How far the roll-up has counted, and how far it may count once all transactions before `next_xid` have ended."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    attempts_to = models.BigIntegerField(help_text="The id of the last attempt that is counted.")
    events_to = models.BigIntegerField()
    finished_to = models.DateTimeField(help_text="Jobs that failed, or were cancelled or discarded, until then are.")
    next_attempts = models.BigIntegerField()
    next_events = models.BigIntegerField()
    next_finished = models.DateTimeField()
    next_xid = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(name="rollup_one_mark", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"attempt {self.attempts_to}"
