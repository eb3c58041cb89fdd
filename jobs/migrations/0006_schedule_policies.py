"""When each schedule is due, what becomes of missed ticks, and the triggers that notice every edit.

django-celery-beat's tables are edited by its own models, by bulk updates and by hand; a trigger sees all of them in
the edit's own transaction. The functions name no column in a trigger's definition, so that later versions of
django-celery-beat can alter theirs. Beat itself writes to a policy after its schedule, and so has the last word.
"""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

TRIGGERS = """
CREATE FUNCTION jobs_schedule_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO jobs_schedulepolicy (schedule_id, counted_from, stale)
        VALUES (NEW.id, COALESCE(NEW.last_run_at, clock_timestamp()), true) ON CONFLICT DO NOTHING;
    ELSIF NOT NEW.enabled THEN
        UPDATE jobs_schedulepolicy SET next_run_at = NULL, stale = false
        WHERE schedule_id = NEW.id AND (next_run_at IS NOT NULL OR stale);
    ELSIF NOT OLD.enabled THEN
        UPDATE jobs_schedulepolicy SET next_run_at = NULL, counted_from = clock_timestamp(), stale = true
        WHERE schedule_id = NEW.id;
    ELSIF (NEW.interval_id, NEW.crontab_id, NEW.clocked_id, NEW.solar_id, NEW.start_time)
          IS DISTINCT FROM (OLD.interval_id, OLD.crontab_id, OLD.clocked_id, OLD.solar_id, OLD.start_time) THEN
        -- A tick that was due before the edit is still owed, by the new times.
        UPDATE jobs_schedulepolicy
        SET counted_from = LEAST(clock_timestamp(), next_run_at - interval '1 microsecond'), stale = true
        WHERE schedule_id = NEW.id;
    ELSIF NEW.last_run_at < COALESCE(OLD.last_run_at, clock_timestamp()) THEN
        -- Moved back by hand: what was due since then counts as missed, unless it is recorded.
        UPDATE jobs_schedulepolicy SET counted_from = NEW.last_run_at, stale = true WHERE schedule_id = NEW.id;
    ELSIF (NEW.expires, NEW.one_off) IS DISTINCT FROM (OLD.expires, OLD.one_off)
          OR NEW.one_off AND NEW.total_run_count <> OLD.total_run_count THEN
        UPDATE jobs_schedulepolicy SET stale = true WHERE schedule_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_schedule_changed AFTER INSERT OR UPDATE ON django_celery_beat_periodictask
FOR EACH ROW EXECUTE FUNCTION jobs_schedule_changed();

CREATE FUNCTION jobs_timetable_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed integer[];
BEGIN
    IF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NULL;
    END IF;
    -- The schedules' rows first, like everyone who writes to a policy.
    EXECUTE format(
        'SELECT array_agg(id) FROM (SELECT id FROM django_celery_beat_periodictask WHERE %I = $1 AND enabled '
        'ORDER BY id FOR NO KEY UPDATE) AS s', TG_ARGV[0]) INTO changed USING NEW.id;
    UPDATE jobs_schedulepolicy
    SET counted_from = LEAST(clock_timestamp(), next_run_at - interval '1 microsecond'), stale = true
    WHERE schedule_id = ANY(changed);
    RETURN NULL;
END $$;
""" + "".join(
    f"""
    CREATE TRIGGER jobs_timetable_changed AFTER UPDATE ON django_celery_beat_{kind}schedule
    FOR EACH ROW EXECUTE FUNCTION jobs_timetable_changed('{kind}_id');
    """
    for kind in ("interval", "crontab", "clocked", "solar")
)

DROP = (
    "DROP TRIGGER jobs_schedule_changed ON django_celery_beat_periodictask; DROP FUNCTION jobs_schedule_changed();"
    + "".join(
        f"DROP TRIGGER jobs_timetable_changed ON django_celery_beat_{kind}schedule;"
        for kind in ("interval", "crontab", "clocked", "solar")
    )
    + "DROP FUNCTION jobs_timetable_changed();"
)

# Counted from the last run: what an earlier version missed is caught up with.
POLICIES = """
INSERT INTO jobs_schedulepolicy (schedule_id, counted_from, stale)
SELECT id, COALESCE(last_run_at, date_changed), true FROM django_celery_beat_periodictask ON CONFLICT DO NOTHING
"""

# Seeded by 0002; without the schedule, an operator has deleted it since.
SEEDED = """
INSERT INTO jobs_scheduledefault (name, spec, schedule_id)
SELECT 'Clean up history', '{
    "task": "jobs.clean_up", "args": [], "kwargs": {}, "queue": "maintenance", "priority": null, "enabled": true,
    "description": "Empties results after a day and prunes old jobs, in small batches.",
    "crontab": {"minute": "30", "hour": "3", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*",
                "timezone": "UTC"}}',
    (SELECT id FROM django_celery_beat_periodictask WHERE name = 'Clean up history')
"""


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0005_rescue"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScheduleDefault",
            fields=[
                ("name", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("spec", models.JSONField()),
                ("schedule", models.OneToOneField(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="code_default", to="django_celery_beat.periodictask")),
            ],
            options={"default_permissions": ()},
        ),
        migrations.CreateModel(
            name="SchedulePolicy",
            fields=[
                ("schedule", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name="policy", serialize=False, to="django_celery_beat.periodictask")),
                ("catch_up", models.CharField(choices=[("run_once", "run once for all that were missed"), ("skip", "skip what was missed"), ("run_all", "run each that was missed")], db_default="run_once", default="run_once", max_length=8)),
                ("catch_up_limit", models.PositiveIntegerField(db_default=100, default=100, help_text="The most missed ticks that are run, the latest first to count.", validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)])),
                ("grace_seconds", models.PositiveIntegerField(blank=True, help_text="A tick that is later is not run. Null: no matter how late; where missed ones are skipped, a minute.", null=True, validators=[django.core.validators.MinValueValidator(1)])),
                ("next_run_at", models.DateTimeField(blank=True, help_text="The canonical due time beat waits for.", null=True)),
                ("counted_from", models.DateTimeField(help_text="What was due up to then is dealt with.")),
                ("stale", models.BooleanField(db_default=False, default=False, help_text="next_run_at is to be computed anew.")),
                ("problem", models.TextField(blank=True, db_default="", default="", help_text="Why the next run cannot be told, if so.")),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(models.F("next_run_at"), condition=models.Q(("next_run_at__isnull", False)), name="policy_due"), models.Index(models.F("schedule"), condition=models.Q(("stale", True)), name="policy_stale")],
                "constraints": [models.CheckConstraint(condition=models.Q(("catch_up__in", ["run_once", "skip", "run_all"])), name="policy_catch_up_known")],
            },
        ),
        migrations.CreateModel(
            name="ScheduleTick",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("due_at", models.DateTimeField()),
                ("outcome", models.CharField(choices=[("sent", "Sent"), ("caught_up", "sent late"), ("folded", "folded into a later tick"), ("skipped", "missed"), ("failed", "Failed")], max_length=9)),
                ("job_id", models.CharField(blank=True, help_text="The job sent for it, or folded into.", max_length=255, null=True)),
                ("at", models.DateTimeField(help_text="When it was dealt with.")),
                ("detail", models.TextField(blank=True, db_default="", default="")),
                ("ticks", models.PositiveIntegerField(db_default=1, default=1, help_text="More than 1: it stands for as many up to this one, missed long ago.")),
                ("schedule", models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="django_celery_beat.periodictask")),
            ],
            options={
                "ordering": ["-due_at"],
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("schedule", "due_at"), name="tick_once")],
            },
        ),
        migrations.RunSQL(TRIGGERS, DROP),
        migrations.RunSQL([POLICIES, SEEDED], migrations.RunSQL.noop),
    ]
