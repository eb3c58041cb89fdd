"""How a person wants to be reminded, and by which ways."""

import zoneinfo
from datetime import time

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q

from jobs.secrets import SecretField

#: Names of the tz database's files that mean another clock on each machine, or none.
_NO_ZONES = frozenset({"Factory", "localtime"})


def known_zone(name: str) -> None:
    """Raises ValidationError unless it is a zone of the tz database, such as Europe/Berlin."""
    if name in _NO_ZONES or name not in zoneinfo.available_timezones():
        raise ValidationError(f"{name[:80]!r} is no time zone; write one such as Europe/Berlin or UTC")


class Preferences(models.Model):
    """One person's clock, hours and habits. Whoever has none has those of `default_preferences`."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="reminder_preferences")
    time_zone = models.CharField(max_length=64, default="UTC", validators=[known_zone], help_text="Your clock.")
    anchor_time = models.TimeField(
        default=time(9), help_text="When you are reminded of what is due on a day, at no time of it."
    )
    quiet_from = models.TimeField(null=True, blank=True, help_text="From then on nothing is sent; empty: never quiet.")
    quiet_until = models.TimeField(null=True, blank=True, help_text="Until then; may be on the next day.")
    urgent_bypasses_quiet = models.BooleanField(
        default=True, help_text="Whether reminders of urgent tasks are sent in quiet hours, too."
    )
    digest_from = models.PositiveSmallIntegerField(
        default=4, help_text="So many reminders within ten minutes become one; 0: each is sent by itself."
    )
    paused_until = models.DateTimeField(null=True, blank=True, help_text="Nothing is sent until then.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "preferences"
        constraints = [
            models.CheckConstraint(
                name="preferences_quiet_from_until",
                condition=Q(quiet_from=None, quiet_until=None) | Q(quiet_from__isnull=False, quiet_until__isnull=False),
            ),
            models.CheckConstraint(name="preferences_quiet_length", condition=~Q(quiet_from=F("quiet_until"))),
            models.CheckConstraint(name="preferences_digest", condition=~Q(digest_from=1)),
        ]

    def __str__(self) -> str:
        return f"preferences of {self.user}"


class ChannelKind(models.TextChoices):
    """How a reminder travels. Apprise: any service that the library of that name knows."""

    MAIL = "mail"
    WEBHOOK = "webhook"
    APPRISE = "apprise"


class Channel(models.Model):
    """One way to one person. Whoever has an address and no channel gets mail, by a channel that is made then.

    A channel is set aside after three deliveries that failed for good, one after the other, until somebody enables it
    again; `set_aside_because` says why. An address that refuses for good (5xx) is suppressed at once. Mail to another
    address than the account's waits until that address' owner has confirmed it.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="reminder_channels")
    kind = models.CharField(max_length=7, choices=ChannelKind)
    label = models.CharField(max_length=100, blank=True, help_text="A name for people, such as “on call”.")
    address = SecretField(
        help_text="Mail: empty for the account's address. Webhook: an https URL. Apprise: a URL as that library takes."
    )
    secret = SecretField(help_text="Of a webhook: what its messages are signed with (whsec_…).")
    enabled = models.BooleanField(default=True)
    unsubscribed_at = models.DateTimeField(null=True, blank=True, help_text="When its person asked for no more.")
    waits_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when its address, not the account's own, waits to be confirmed."
    )
    failures = models.PositiveSmallIntegerField(default=0, help_text="Deliveries failed for good, in a row.")
    set_aside_at = models.DateTimeField(null=True, blank=True)
    set_aside_because = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    #: Nothing keeps it from being used, if it has an address or its account has one.
    USABLE = Q(enabled=True, unsubscribed_at=None, set_aside_at=None, waits_since=None)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="channel_one_mail", fields=["user"], condition=Q(kind=ChannelKind.MAIL)),
            models.CheckConstraint(name="channel_kind_known", condition=Q(kind__in=ChannelKind.values)),
            models.CheckConstraint(
                name="channel_set_aside_because", condition=Q(set_aside_at=None) ^ ~Q(set_aside_because="")
            ),
            models.CheckConstraint(
                name="channel_waits_by_mail",
                condition=Q(waits_since=None) | (Q(kind=ChannelKind.MAIL) & ~Q(address="")),
            ),
        ]
        indexes = [
            models.Index(name="channel_of_user", fields=["user", "id"]),
            models.Index(name="channel_set_aside", fields=["id"], condition=Q(set_aside_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.user}" + (f" ({self.label})" if self.label else "")

    @property
    def is_on(self) -> bool:
        """Whether its person and its far side let it be used; its address may still wait to be confirmed."""
        return self.enabled and self.unsubscribed_at is None and self.set_aside_at is None

    @property
    def is_usable(self) -> bool:
        """As `USABLE` finds them."""
        return self.is_on and self.waits_since is None


class Suppression(models.Model):
    """An address that takes no mail: the server refused it for good. Deleted by whoever lifts it."""

    address = models.CharField(max_length=254, unique=True, help_text="In lower case.")
    reason = models.TextField(help_text="What the server answered.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(name="suppression_newest", fields=["-created_at", "-id"])]

    def __str__(self) -> str:
        return self.address


class CalendarFeed(models.Model):
    """A secret address at which a calendar program reads one person's tasks; a new one replaces the former."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="calendar_feed")
    # Only its digest is kept: whoever reads the database reads no calendars.
    token_digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_read_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"calendar of {self.user}"
