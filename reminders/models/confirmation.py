"""Mails that ask the owner of an address whether reminders may be sent there."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from reminders.models.people import Channel


class ConfirmationMail(models.Model):
    """One such mail. Of the address only a digest is kept: by it, and by person, they are limited to a few a day."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    channel = models.ForeignKey(Channel, null=True, on_delete=models.SET_NULL, related_name="confirmation_mails")
    address_digest = models.BinaryField(max_length=32)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, default="", help_text="Why it was not sent.")
    job_id = models.CharField(
        max_length=255, blank=True, default="", help_text="The job that sends it; empty if none was to."
    )

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="confirmation_sent_or_failed", condition=Q(sent_at=None) | Q(error="")),
        ]
        indexes = [
            models.Index(name="confirmation_of_address", fields=["address_digest", "created_at"]),
            models.Index(name="confirmation_of_user", fields=["user", "created_at"]),
            models.Index(name="confirmation_open", fields=["id"], condition=Q(sent_at=None, error="")),
        ]

    def __str__(self) -> str:
        return f"confirmation of {self.channel}"
