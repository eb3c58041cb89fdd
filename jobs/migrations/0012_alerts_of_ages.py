"""Alerts may watch how long ago a task succeeded."""

from django.db import migrations, models

KINDS = [
    ("failed", "failed jobs in a window"),
    ("oldest", "backlog: seconds that the oldest job waits"),
    ("waiting", "backlog: jobs that wait"),
    ("age", "seconds since a task succeeded last"),
]


class Migration(migrations.Migration):
    dependencies = [("jobs", "0011_workflows")]

    operations = [
        migrations.RemoveConstraint("alert", "alert_kind_known"),
        migrations.AlterField("alert", "kind", models.CharField(choices=KINDS, max_length=8)),
        migrations.AlterField(
            "alert",
            "task",
            models.CharField(
                blank=True,
                default="",
                help_text="Of failed jobs; empty: all tasks. Of an age: whose.",
                max_length=255,
            ),
        ),
        migrations.AddConstraint(
            "alert",
            models.CheckConstraint(name="alert_kind_known", condition=models.Q(kind__in=[kind for kind, _ in KINDS])),
        ),
    ]
