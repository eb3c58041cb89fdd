from typing import ClassVar

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """What waits is claimed person by person; a delivery without a job is found beside however many that have one."""

    dependencies: ClassVar = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("reminders", "0001_todos_rules_reminders_files"),
    ]

    operations: ClassVar = [
        migrations.RemoveIndex("reminder", "reminder_waiting"),
        migrations.AddIndex(
            "reminder",
            models.Index(condition=models.Q(("state", "due")), fields=["recipient", "id"], name="reminder_waiting"),
        ),
        migrations.AddIndex(
            "reminderdelivery",
            models.Index(
                condition=models.Q(("job_id", ""), ("state", "pending")), fields=["id"], name="remdelivery_unsent"
            ),
        ),
    ]
