"""Default rules have pages of their own; what scrapes and lists look for is found beside millions of other rows."""

from typing import ClassVar

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q


def anew(index: str) -> migrations.RunSQL:
    """Drop what a migration that was cut off left of an index, which may be invalid, so that this one can run again."""
    return migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index}", migrations.RunSQL.noop)


class Migration(migrations.Migration):
    atomic = False  # CREATE INDEX CONCURRENTLY cannot run in a transaction
    dependencies: ClassVar = [("reminders", "0008_fewer_entries_a_reminder")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="DefaultRule",
            fields=[],
            options={
                "verbose_name": "default rule",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("reminders.reminderrule",),
        ),
        anew("blob_pending"),
        AddIndexConcurrently(
            "blob", models.Index(name="blob_pending", fields=["id"], condition=Q(scan_state="pending"))
        ),
        anew("channel_set_aside"),
        AddIndexConcurrently(
            "channel", models.Index(name="channel_set_aside", fields=["id"], condition=Q(set_aside_at__isnull=False))
        ),
        anew("remdelivery_uncertain"),
        AddIndexConcurrently(
            "reminderdelivery",
            models.Index(name="remdelivery_uncertain", fields=["id"], condition=Q(state="uncertain")),
        ),
        anew("rule_default_newest"),
        AddIndexConcurrently(
            "reminderrule", models.Index(F("id").desc(), name="rule_default_newest", condition=Q(todo=None))
        ),
    ]
