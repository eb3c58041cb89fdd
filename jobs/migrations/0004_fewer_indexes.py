"""Drops indexes that every job pays for and nothing asks for.

`jobs_job.id` has collation C, so its primary key serves searches by prefix, and the `_like` index is a copy of it. Of
django-celery-results' indexes, those of worker, date_created and periodic task serve filters of its own admin, which
ours does not have; the one of status becomes a partial one, because nearly all results are successes.
"""

from django.db import migrations

# Django names `_like` indexes by a hash, so this one is found, not named.
_DROP_LIKE = """
    DO $$
    DECLARE name text;
    BEGIN
        FOR name IN SELECT indexname FROM pg_indexes
                    WHERE schemaname = current_schema() AND tablename = 'jobs_job' AND indexname LIKE 'jobs\\_job\\_id\\_%\\_like'
        LOOP
            EXECUTE format('DROP INDEX %I', name);
        END LOOP;
    END $$
"""
_RESULTS = "django_celery_results_taskresult"
_UNUSED = {
    "django_cele_worker_d54dd8_idx": "worker",
    "django_cele_date_cr_f04a50_idx": "date_created",
    "django_cele_periodi_1993cf_idx": "periodic_task_name",
    "django_cele_status_9b6201_idx": "status",
}


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_idempotency_folded"), ("django_celery_results", "0014_alter_taskresult_status")]

    operations = [
        migrations.RunSQL(
            _DROP_LIKE,
            "CREATE INDEX jobs_job_id_e5bc7a75_like ON jobs_job (id varchar_pattern_ops)",
        ),
        *(
            migrations.RunSQL(
                f"DROP INDEX IF EXISTS {name}", f"CREATE INDEX IF NOT EXISTS {name} ON {_RESULTS} ({column})"
            )
            for name, column in _UNUSED.items()
        ),
        migrations.RunSQL(
            f"CREATE INDEX taskresult_not_success ON {_RESULTS} (status, date_done DESC) WHERE status <> 'SUCCESS'",
            "DROP INDEX IF EXISTS taskresult_not_success",
        ),
    ]
