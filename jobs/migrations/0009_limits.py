"""Limits and pauses; large pull requests, on `slow_lane`, are reviewed one at a time over all workers."""

import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.db import migrations, models


def seed(apps, schema_editor):
    Limit = apps.get_model("jobs", "Limit")
    Limit.objects.get_or_create(scope="queue", name="slow_lane", defaults={"concurrency": 1})


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0008_alerts'),
    ]

    operations = [
        migrations.CreateModel(
            name='Limit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(choices=[('everything', 'Everything'), ('queue', 'Queue'), ('task', 'Task')], max_length=10)),
                ('name', models.CharField(blank=True, default='', help_text="The queue's or the task's.", max_length=255)),
                ('concurrency', models.PositiveIntegerField(blank=True, help_text='Jobs that run at once, in all.', null=True)),
                ('key_concurrency', models.PositiveIntegerField(blank=True, help_text='Jobs of one limit key that run at once; jobs without a key are not limited.', null=True)),
                ('rate', models.PositiveIntegerField(blank=True, help_text='Runs that begin within any `rate_seconds`.', null=True)),
                ('rate_seconds', models.PositiveIntegerField(db_default=1, default=1)),
                ('paused_at', models.DateTimeField(blank=True, null=True)),
                ('pause_reason', models.TextField(blank=True, db_default='', default='')),
                ('paused_by', models.CharField(blank=True, db_default='', default='', max_length=255)),
                ('resume_at', models.DateTimeField(blank=True, help_text='When the pause ends by itself.', null=True)),
                ('changed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('changed_by', models.CharField(blank=True, db_default='', default='', max_length=255)),
                ('last_key', models.CharField(blank=True, help_text="The limit key admitted last: the next one's turn is now.", max_length=255, null=True)),
                ('look_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), help_text="Of everything's row: when dispatchers next look at what waits.")),
            ],
            options={
                'ordering': ['scope', 'name'],
                'permissions': [('manage_limits', 'Can set limits of queues, tasks and everything'), ('pause_queue', 'Can pause and resume queues, tasks and everything')],
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Slot',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('job_id', models.CharField(db_collation='C', max_length=255)),
                ('attempt', models.PositiveIntegerField(help_text="The job's attempt when it was let through.")),
                ('key', models.CharField(help_text="The job's limit key; empty for none.", max_length=255)),
                ('admitted_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('started_at', models.DateTimeField(null=True)),
                ('ended', models.BooleanField(db_default=False, default=False)),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_held',
        ),
        migrations.AlterField(
            model_name='job',
            name='limit_key',
            field=models.CharField(blank=True, db_collation='C', help_text='What a limit per key counts it under, for example a repository.', max_length=255, null=True),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(models.F('queue'), models.F('task'), django.db.models.functions.comparison.Coalesce('limit_key', models.Value('')), models.OrderBy(models.F('priority'), descending=True), models.F('run_at'), condition=models.Q(('held', True), ('state', 'queued')), name='job_held'),
        ),
        migrations.AddConstraint(
            model_name='limit',
            constraint=models.UniqueConstraint(fields=('scope', 'name'), name='limit_once_per_scope'),
        ),
        migrations.AddConstraint(
            model_name='limit',
            constraint=models.CheckConstraint(condition=models.Q(('scope', 'everything'), models.Q(('name', ''), _negated=True), _connector='XOR'), name='limit_of_everything_has_no_name'),
        ),
        migrations.AddConstraint(
            model_name='limit',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('concurrency', None), ('concurrency__gte', 1), _connector='OR'), models.Q(('key_concurrency', None), ('key_concurrency__gte', 1), _connector='OR'), models.Q(('rate', None), ('rate__gte', 1), _connector='OR'), ('rate_seconds__gte', 1)), name='limit_at_least_1'),
        ),
        migrations.AddField(
            model_name='slot',
            name='limit',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='slots', to='jobs.limit'),
        ),
        migrations.AddIndex(
            model_name='slot',
            index=models.Index(fields=['limit', 'ended', 'started_at'], name='slot_of_limit'),
        ),
        migrations.AddConstraint(
            model_name='slot',
            constraint=models.UniqueConstraint(fields=('job_id', 'limit', 'attempt'), name='slot_once_per_run'),
        ),
        migrations.RunPython(seed, migrations.RunPython.noop),
    ]
