from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):

    dependencies = [
        ('reviews', '0009_review_rounds_and_file_settings'),
    ]

    operations = [
        migrations.AddField(
            model_name='llmcall',
            name='answer',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='llmcall',
            name='request_digest',
            field=models.CharField(blank=True, default='', max_length=64),
        ),
        migrations.AddField(
            model_name='llmcall',
            name='written_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='Of these, written to its cache.', null=True),
        ),
        migrations.AddField(
            model_name='llmprovider',
            name='checked_at',
            field=models.DateTimeField(blank=True, help_text='When key and model were last tried.', null=True),
        ),
        migrations.AddField(
            model_name='llmprovider',
            name='error',
            field=models.TextField(blank=True, default='', help_text='What was wrong then; empty: nothing.'),
        ),
        migrations.AddField(
            model_name='llmprovider',
            name='min_confidence',
            field=models.FloatField(default=0.6, help_text='Findings of which the model is less sure are left out; 0 to 1.'),
        ),
        migrations.AlterField(
            model_name='llmcall',
            name='created_at',
            field=models.DateTimeField(db_default=Now()),
        ),
        migrations.AlterField(
            model_name='llmcall',
            name='cached_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='Of these, read from its cache.', null=True),
        ),
        migrations.AlterField(
            model_name='llmcall',
            name='finished_at',
            field=models.DateTimeField(blank=True, help_text='Empty: under way, its cost reserved.', null=True),
        ),
        migrations.AlterField(
            model_name='llmcall',
            name='input_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='All of them.', null=True),
        ),
        migrations.AlterField(
            model_name='llmcall',
            name='purpose',
            field=models.CharField(help_text='review, repair, reply, issue or check.', max_length=16),
        ),
        migrations.AlterField(
            model_name='llmprovider',
            name='output_tokens',
            field=models.PositiveIntegerField(default=16000, help_text='Of one answer, at most; what a model thinks before it answers counts.'),
        ),
        migrations.AddIndex(
            model_name='llmcall',
            index=models.Index(models.F('created_at'), condition=models.Q(('finished_at__isnull', True)), name='llm_call_under_way'),
        ),
        migrations.AddConstraint(
            model_name='llmprovider',
            constraint=models.CheckConstraint(condition=models.Q(('min_confidence__range', (0, 1))), name='llm_confidence_range'),
        ),
    ]
