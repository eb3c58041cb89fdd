import django.db.models.deletion
import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0004_fewer_indexes'),
    ]

    operations = [
        migrations.CreateModel(
            name='BrokerState',
            fields=[
                ('name', models.CharField(max_length=32, primary_key=True, serialize=False)),
                ('epoch', models.CharField(max_length=64)),
                ('run_id', models.CharField(blank=True, default='', max_length=64)),
                ('changed_at', models.DateTimeField()),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='JobEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField()),
                ('kind', models.CharField(help_text='For example rescued, resent, handed_back, parked, superseded.', max_length=24)),
                ('text', models.TextField(help_text='What was noticed and what was done, in one sentence.')),
                ('detail', models.JSONField(default=dict)),
            ],
            options={
                'ordering': ['at', 'id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='Sweep',
            fields=[
                ('name', models.CharField(max_length=32, primary_key=True, serialize=False)),
                ('due_at', models.DateTimeField()),
                ('last_at', models.DateTimeField(help_text='When it was done last; a gap tells that Postgres was away.')),
                ('calm_since', models.DateTimeField(help_text='Since when it has been done without a gap.')),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_unsent',
        ),
        migrations.AddField(
            model_name='job',
            name='crashes',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='Runs that ended with their process.'),
        ),
        migrations.AddField(
            model_name='job',
            name='held',
            field=models.BooleanField(db_default=False, default=False, help_text='Waits in Postgres for a limit or a pause.'),
        ),
        migrations.AddField(
            model_name='job',
            name='limit_key',
            field=models.CharField(blank=True, help_text='What a limit per key counts it under, for example a repository.', max_length=255, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='sends',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='Messages sent for the present wait; each doubles the grace before the next.'),
        ),
        migrations.AddField(
            model_name='job',
            name='uncounted',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='Runs that used up no attempt: crashed, lost, handed back or snoozed.'),
        ),
        migrations.AddField(
            model_name='worker',
            name='fetched',
            field=models.JSONField(db_default=[], default=list, help_text='Ids of the messages that wait in it for a free child.'),
        ),
        migrations.AddField(
            model_name='worker',
            name='running',
            field=models.JSONField(db_default=[], default=list, help_text='Ids of the jobs that its children run.'),
        ),
        migrations.AlterField(
            model_name='attempt',
            name='outcome',
            field=models.CharField(choices=[('succeeded', 'Succeeded'), ('failed', 'Failed'), ('retried', 'Retried'), ('cancelled', 'Cancelled'), ('discarded', 'Discarded'), ('snoozed', 'Snoozed'), ('crashed', 'Crashed'), ('lost', 'Lost'), ('handed_back', 'handed back'), ('superseded', 'Superseded')], max_length=12),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('held', False), ('state', 'queued')), fields=['sent_at', 'run_at'], name='job_queued'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(models.F('queue'), django.db.models.functions.comparison.Coalesce('limit_key', models.Value('')), models.OrderBy(models.F('priority'), descending=True), models.F('run_at'), condition=models.Q(('held', True), ('state', 'queued')), name='job_held'),
        ),
        migrations.AddField(
            model_name='jobevent',
            name='job',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='events', to='jobs.job'),
        ),
        migrations.AddIndex(
            model_name='jobevent',
            index=models.Index(fields=['job', 'at'], name='event_of_job'),
        ),
    ]
