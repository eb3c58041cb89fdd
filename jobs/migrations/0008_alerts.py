import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models
from django.db.migrations.state import StateApps


def make_alerts(apps: StateApps, schema_editor: object) -> None:
    """The two that every installation wants. Whom to tell, an operator adds; until then the control room shows them."""
    alerts = apps.get_model("jobs", "Alert").objects
    alerts.create(name="Failed jobs", kind="failed", threshold=10, window_seconds=900)
    alerts.create(name="Backlog", kind="oldest", threshold=600, for_seconds=60)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0007_effects")]

    operations = [
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('kind', models.CharField(choices=[('failed', 'failed jobs in a window'), ('oldest', 'backlog: seconds that the oldest job waits'), ('waiting', 'backlog: jobs that wait')], max_length=8)),
                ('queue', models.CharField(blank=True, default='', help_text='Empty: all queues.', max_length=64)),
                ('task', models.CharField(blank=True, default='', help_text='Of failed jobs; empty: all tasks.', max_length=255)),
                ('threshold', models.PositiveIntegerField(help_text='Reached at this many jobs, or seconds.')),
                ('window_seconds', models.PositiveIntegerField(default=900, help_text='How far back failed jobs count.')),
                ('for_seconds', models.PositiveIntegerField(default=0, help_text='How long it must be reached before it fires.')),
                ('cooldown_seconds', models.PositiveIntegerField(default=3600, help_text='It fires again no sooner than this.')),
                ('enabled', models.BooleanField(default=True)),
                ('mail_to', django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), blank=True, default=list, size=None)),
                ('webhook_url', models.CharField(blank=True, default='', max_length=2000)),
                ('webhook_key', models.UUIDField(default=uuid.uuid4, help_text='What the signing secret is derived from.')),
                ('value', models.FloatField(help_text='As last measured.', null=True)),
                ('looked_at', models.DateTimeField(null=True)),
                ('breached_since', models.DateTimeField(help_text='Since when the threshold is reached.', null=True)),
                ('firing_since', models.DateTimeField(null=True)),
                ('fired_at', models.DateTimeField(help_text='When it fired last; the cool-down counts from then.', null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('changed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('changed_by', models.CharField(blank=True, default='', max_length=255)),
            ],
            options={
                'ordering': ['name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['failed', 'oldest', 'waiting'])), name='alert_kind_known'), models.CheckConstraint(condition=models.Q(('threshold__gte', 1)), name='alert_threshold_from_1'), models.CheckConstraint(condition=models.Q(('firing_since__isnull', True), models.Q(('breached_since__isnull', False), ('fired_at__isnull', False)), _connector='OR'), name='alert_fires_when_breached')],
            },
        ),
        migrations.CreateModel(
            name='AlertEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('kind', models.CharField(choices=[('fired', 'Fired'), ('recovered', 'Recovered'), ('closed', 'disabled while firing'), ('tested', 'Tested')], max_length=9)),
                ('value', models.FloatField(null=True)),
                ('text', models.TextField(help_text='What was measured, in one sentence.')),
                ('detail', models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict)),
                ('alert', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='events', to='jobs.alert')),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='AlertDelivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('channel', models.CharField(choices=[('mail', 'Mail'), ('webhook', 'Webhook')], max_length=7)),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('sent', 'Sent'), ('failed', 'Failed')], db_default='waiting', default='waiting', max_length=7)),
                ('attempts', models.PositiveSmallIntegerField(db_default=0, default=0)),
                ('next_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), help_text='Not tried before this time.')),
                ('sent_at', models.DateTimeField(null=True)),
                ('error', models.TextField(blank=True, db_default='', default='', help_text='How the last try went wrong.')),
                ('event', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='jobs.alertevent')),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='RollUp',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('measure', models.CharField(max_length=6)),
                ('task', models.CharField(blank=True, default='', max_length=255)),
                ('queue', models.CharField(blank=True, default='', max_length=64)),
                ('outcome', models.CharField(max_length=24)),
                ('count', models.BigIntegerField(default=0)),
                ('run_seconds', models.FloatField(default=0)),
                ('run_buckets', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), default=list, size=None)),
                ('wait_count', models.BigIntegerField(default=0)),
                ('wait_seconds', models.FloatField(default=0)),
                ('wait_buckets', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), default=list, size=None)),
            ],
            options={
                'permissions': [('view_metrics', 'Can read /metrics')],
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('measure', 'task', 'queue', 'outcome'), name='rollup_once')],
            },
        ),
        migrations.CreateModel(
            name='RollUpMark',
            fields=[
                ('id', models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('attempts_to', models.BigIntegerField(help_text='The id of the last attempt that is counted.')),
                ('events_to', models.BigIntegerField()),
                ('finished_to', models.DateTimeField(help_text='Jobs that failed, or were cancelled or discarded, until then are.')),
                ('next_attempts', models.BigIntegerField()),
                ('next_events', models.BigIntegerField()),
                ('next_finished', models.DateTimeField()),
                ('next_xid', models.BigIntegerField()),
            ],
            options={
                'default_permissions': (),
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='rollup_one_mark')],
            },
        ),
        migrations.AddIndex(
            model_name='alertevent',
            index=models.Index(models.F('alert'), models.OrderBy(models.F('at'), descending=True), models.OrderBy(models.F('id'), descending=True), name='alertevent_newest'),
        ),
        migrations.AddIndex(
            model_name='alertevent',
            index=models.Index(models.F('at'), name='alertevent_at'),
        ),
        migrations.AddIndex(
            model_name='alertdelivery',
            index=models.Index(condition=models.Q(('state', 'waiting')), fields=['next_at'], name='delivery_waiting'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.UniqueConstraint(fields=('event', 'channel'), name='delivery_once_a_channel'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.CheckConstraint(condition=models.Q(('state', 'sent'), ('sent_at', None), _connector='XOR'), name='delivery_sent_at_when_sent'),
        ),
        migrations.RunPython(make_alerts, migrations.RunPython.noop),
    ]
