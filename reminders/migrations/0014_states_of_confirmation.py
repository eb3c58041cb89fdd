"""Only mail to an address of its own waits; a mail that asks is sent or failed, and known by its job."""

from typing import ClassVar

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reminders", "0013_confirmed_addresses")]
    operations: ClassVar = [
        migrations.AddField(
            "confirmationmail",
            "job_id",
            models.CharField(
                max_length=255, blank=True, default="", help_text="The job that sends it; empty if none was to."
            ),
        ),
        migrations.AddIndex(
            "confirmationmail",
            models.Index(name="confirmation_open", fields=["id"], condition=Q(sent_at=None, error="")),
        ),
        migrations.AddConstraint(
            "confirmationmail",
            models.CheckConstraint(name="confirmation_sent_or_failed", condition=Q(sent_at=None) | Q(error="")),
        ),
        migrations.AddConstraint(
            "channel",
            models.CheckConstraint(
                name="channel_waits_by_mail", condition=Q(waits_since=None) | (Q(kind="mail") & ~Q(address=""))
            ),
        ),
    ]
