"""A key is held for longer or shorter than a job is unfinished; large tables are indexed without blocking writes."""

from django.db import migrations, models

UNFINISHED = ("scheduled", "queued", "running")
_HELD = models.Q(unique_key__isnull=False, key_released=False) & (
    models.Q(state__in=UNFINISHED) | models.Q(state="succeeded", unique_until__isnull=False)
)
_HELD_SQL = """
    unique_key IS NOT NULL AND NOT key_released
    AND (state IN ('scheduled', 'queued', 'running') OR (state = 'succeeded' AND unique_until IS NOT NULL))
"""
_UNFINISHED_SQL = "unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running')"


class Migration(migrations.Migration):
    atomic = False  # CREATE INDEX CONCURRENTLY cannot run in a transaction
    dependencies = [("jobs", "0009_limits")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="unique_until_start",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Gives its key up for good when a run begins."
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="unique_until",
            field=models.DateTimeField(
                blank=True, null=True, help_text="Having succeeded, it holds its key until then all the same."
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="key_released",
            field=models.BooleanField(db_default=False, default=False, help_text="Another job may take its key."),
        ),
        migrations.AddField(
            model_name="job",
            name="debounce_by",
            field=models.DateTimeField(
                blank=True, null=True, help_text="A newer send of its key moves its start no further than this."
            ),
        ),
        # The new index stands before the old one goes: there is no moment without one.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        "DROP INDEX IF EXISTS job_unique_key_held",  # of a first try that was broken off
                        "CREATE UNIQUE INDEX CONCURRENTLY job_unique_key_held ON jobs_job (unique_key) "
                        f"WHERE {_HELD_SQL}",
                        "DROP INDEX CONCURRENTLY IF EXISTS job_unique_key_unfinished",
                    ],
                    [
                        "CREATE UNIQUE INDEX CONCURRENTLY job_unique_key_unfinished ON jobs_job (unique_key) "
                        f"WHERE {_UNFINISHED_SQL}",
                        "DROP INDEX CONCURRENTLY IF EXISTS job_unique_key_held",
                    ],
                ),
                migrations.RunSQL(
                    [
                        "DROP INDEX IF EXISTS job_key_released",
                        "CREATE INDEX CONCURRENTLY job_key_released ON jobs_job (unique_key) "
                        "WHERE key_released AND state IN ('scheduled', 'queued', 'running')",
                    ],
                    "DROP INDEX CONCURRENTLY IF EXISTS job_key_released",
                ),
            ],
            state_operations=[
                migrations.RemoveConstraint(model_name="job", name="job_unique_key_unfinished"),
                migrations.AddConstraint(
                    model_name="job",
                    constraint=models.UniqueConstraint(
                        name="job_unique_key_held", fields=["unique_key"], condition=_HELD
                    ),
                ),
                migrations.AddIndex(
                    model_name="job",
                    index=models.Index(
                        name="job_key_released",
                        fields=["unique_key"],
                        condition=models.Q(key_released=True, state__in=UNFINISHED),
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="jobevent",
            constraint=models.UniqueConstraint(
                name="event_folded_once", fields=["job"], condition=models.Q(kind="folded")
            ),
        ),
    ]
