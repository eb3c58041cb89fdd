"""Fewer and narrower entries for each reminder and delivery, and half the foreign keys.

Lists follow the numbers of rows, which grow with time; BRIN finds a stretch of time among them.
"""

from typing import Any, ClassVar

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models
from django.db.models import F, Q


def _key(to: str, **options: Any) -> models.ForeignKey:
    on_delete = django.db.models.deletion.CASCADE
    return models.ForeignKey(to=to, on_delete=on_delete, db_constraint=False, **options)


def _times(name: str, field: str) -> BrinIndex:
    return BrinIndex(name=name, fields=[field], pages_per_range=32, autosummarize=True)


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("reminders", "0005_failed_deliveries"),
    ]

    operations: ClassVar = [
        migrations.RemoveIndex("reminder", "reminder_newest"),
        migrations.RemoveIndex("reminder", "reminder_of_person"),
        migrations.RemoveIndex("reminder", "reminder_of_todo"),
        migrations.RemoveIndex("reminderdelivery", "remdelivery_newest"),
        migrations.RemoveIndex("reminderdelivery", "remdelivery_of_person"),
        migrations.RemoveIndex("reminderdelivery", "remdelivery_of_channel"),
        migrations.RemoveIndex("reminderdelivery", "remdelivery_failed"),
        migrations.AlterField(
            "deliveredreminder",
            "delivery",
            _key("reminders.reminderdelivery", db_index=False, related_name="items"),
        ),
        migrations.AlterField("deliveredreminder", "reminder", _key("reminders.reminder", related_name="items")),
        migrations.AlterField(
            "reminderdelivery", "recipient", _key(settings.AUTH_USER_MODEL, db_index=False, related_name="+")
        ),
        migrations.AddIndex("reminder", _times("reminder_fired", "fired_at")),
        migrations.AddIndex("reminder", models.Index(name="reminder_of_person", fields=["recipient", "-id"])),
        migrations.AddIndex("reminder", models.Index(name="reminder_of_todo", fields=["todo", "-id"])),
        migrations.AddIndex("reminderdelivery", _times("remdelivery_created", "created_at")),
        migrations.AddIndex(
            "reminderdelivery",
            models.Index(F("id").desc(), name="remdelivery_failed", condition=Q(state__in=("failed", "uncertain"))),
        ),
        migrations.AddIndex(
            "reminderdelivery", models.Index(name="remdelivery_of_person", fields=["recipient", "-id"])
        ),
        migrations.AddIndex("reminderdelivery", models.Index(name="remdelivery_of_channel", fields=["channel", "-id"])),
    ]
