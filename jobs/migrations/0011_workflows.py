"""Chords of the ledger's own, and an index by which a group's members are found."""

import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

_OPEN = ("waiting", "resting")


class Migration(migrations.Migration):
    atomic = False  # CREATE INDEX CONCURRENTLY cannot run in a transaction
    dependencies = [("jobs", "0010_uniqueness")]

    operations = [
        migrations.CreateModel(
            name="Chord",
            fields=[
                ("group_id", models.CharField(db_collation="C", max_length=255, primary_key=True, serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("resting", "Resting"),
                            ("joined", "Joined"),
                            ("dropped", "Dropped"),
                            ("broken", "Broken"),
                        ],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                (
                    "members",
                    models.JSONField(
                        help_text="The ids of the jobs whose results the body takes, in its order; may nest."
                    ),
                ),
                ("leaves", models.JSONField(help_text="The same ids in one list.")),
                (
                    "steps",
                    models.JSONField(help_text="Every id of its header: the members and the steps that lead to them."),
                ),
                (
                    "stopped",
                    models.JSONField(default=dict, help_text="Member that has no row → the job that ended before it."),
                ),
                ("body", models.JSONField(help_text="Celery's signature of what follows.")),
                (
                    "rests",
                    models.PositiveIntegerField(
                        default=0, help_text="How often it came to rest; each calls its errbacks once."
                    ),
                ),
                ("error", models.TextField(blank=True, default="", help_text="Why the body could not be made.")),
                ("created_at", models.DateTimeField()),
                (
                    "checked_at",
                    models.DateTimeField(help_text="When the dispatchers last looked whether it could go on."),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(fields=["steps"], name="chord_steps"),
                    models.Index(condition=models.Q(("state__in", _OPEN)), fields=["checked_at"], name="chord_open"),
                    models.Index(
                        condition=models.Q(("finished_at__isnull", False)),
                        fields=["finished_at"],
                        name="chord_finished",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["waiting", "resting", "joined", "dropped", "broken"])),
                        name="chord_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", _OPEN), ("finished_at__isnull", False), _connector="XOR"),
                        name="chord_finished_at_when_finished",
                    ),
                ],
            },
        ),
        AddIndexConcurrently(
            model_name="job",
            index=models.Index(condition=models.Q(("group_id__isnull", False)), fields=["group_id"], name="job_group"),
        ),
    ]
