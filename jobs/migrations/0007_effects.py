import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_schedule_policies")]

    operations = [
        migrations.CreateModel(
            name='Effect',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(db_collation='C', help_text='What must happen once.', max_length=255)),
                ('kind', models.CharField(help_text='For example comment or mail.', max_length=64)),
                ('target', models.CharField(blank=True, default='', help_text='Where to; holds no secret.', max_length=255)),
                ('state', models.CharField(choices=[('intended', 'Intended'), ('tried', 'Tried'), ('done', 'Done'), ('uncertain', 'Uncertain'), ('failed', 'Failed')], default='intended', max_length=9)),
                ('identity', models.CharField(default=uuid.uuid4, help_text='Idempotency key, hidden marker or Message-ID; each try has it.', max_length=255)),
                ('request', models.BinaryField(help_text='What is sent, where each try must send the same bytes.', null=True)),
                ('context', models.JSONField(default=dict, help_text='What a later look at the far side needs; holds no secret.')),
                ('receipt', models.JSONField(help_text='What the far side answered, for example its id.', null=True)),
                ('error', models.TextField(blank=True, default='', help_text='How the last try went wrong, in one line.')),
                ('attempts', models.PositiveIntegerField(default=0, help_text='Tries so far.')),
                ('doubts', models.PositiveIntegerField(default=0, help_text='Earlier tries whose outcome nobody heard.')),
                ('try_id', models.UUIDField(help_text='The fence of the try under way.', null=True)),
                ('created_at', models.DateTimeField()),
                ('tried_at', models.DateTimeField(help_text='When the latest try began.', null=True)),
                ('deadline_at', models.DateTimeField(help_text='When the latest try has ended, whatever became of it.', null=True)),
                ('done_at', models.DateTimeField(null=True)),
                ('decided_at', models.DateTimeField(null=True)),
                ('decided_by', models.CharField(blank=True, default='', max_length=255)),
                ('decision_reason', models.TextField(blank=True, default='')),
                ('check_at', models.DateTimeField(help_text='When to look for a second copy at the far side.', null=True)),
                ('copies', models.PositiveIntegerField(help_text='How many of it the far side had when it was counted.', null=True)),
                ('is_uncertain', models.GeneratedField(db_persist=True, expression=models.Q(('state', 'uncertain')), output_field=models.BooleanField())),
                ('job', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='effects', to='jobs.job')),
            ],
            options={
                'permissions': [('decide_effect', 'Can decide whether an uncertain effect happened')],
                'default_permissions': ('view',),
                'indexes': [models.Index(models.OrderBy(models.F('is_uncertain'), descending=True), models.OrderBy(models.F('created_at'), descending=True), models.OrderBy(models.F('id'), descending=True), name='effect_uncertain_first'), models.Index(models.OrderBy(models.F('created_at'), descending=True), models.OrderBy(models.F('id'), descending=True), name='effect_newest'), models.Index(fields=['job'], name='effect_of_job'), models.Index(condition=models.Q(('state', 'done'), _negated=True), fields=['state'], name='effect_open'), models.Index(condition=models.Q(('check_at__isnull', False)), fields=['check_at'], name='effect_to_check'), models.Index(condition=models.Q(('copies__gt', 1)), fields=['id'], name='effect_doubled')],
                'constraints': [models.UniqueConstraint(fields=('key',), name='effect_key'), models.CheckConstraint(condition=models.Q(('state__in', ['intended', 'tried', 'done', 'uncertain', 'failed'])), name='effect_state_known'), models.CheckConstraint(condition=models.Q(('state', 'tried'), ('try_id__isnull', True), _connector='XOR'), name='effect_fenced_when_tried'), models.CheckConstraint(condition=models.Q(models.Q(('attempts', 0), ('deadline_at__isnull', True), ('tried_at__isnull', True)), models.Q(('attempts__gt', 0), ('deadline_at__isnull', False), ('tried_at__isnull', False)), _connector='OR'), name='effect_times_of_a_try'), models.CheckConstraint(condition=models.Q(('attempts', 0), ('state__in', ('tried', 'uncertain')), _negated=True), name='effect_tried_before_unknown'), models.CheckConstraint(condition=models.Q(('state', 'done'), ('done_at__isnull', True), _connector='XOR'), name='effect_done_at_when_done'), models.CheckConstraint(condition=models.Q(('check_at', None), ('state', 'done'), _connector='OR'), name='effect_checked_when_done'), models.CheckConstraint(condition=models.Q(('decided_at__isnull', True), models.Q(('decided_by', ''), _negated=True), _connector='XOR'), name='effect_decided_by_someone')],
            },
        ),
    ]
