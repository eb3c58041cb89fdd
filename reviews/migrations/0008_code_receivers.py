"""What a name is called on, which chunks came of a file, and which version of the indexer read it."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reviews", "0009_issue_rounds_and_labels")]

    operations = [
        migrations.AddField(
            model_name="codeindex", name="indexer", field=models.PositiveSmallIntegerField(default=0)
        ),
        migrations.AddField(
            model_name="codefile", name="skipped", field=models.CharField(blank=True, default="", max_length=40)
        ),
        migrations.AddField(
            model_name="codefile",
            name="chunk_ids",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=255), blank=True, default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="reference", name="kind", field=models.CharField(default="call", max_length=8)
        ),
        migrations.AddField(
            model_name="reference", name="receiver", field=models.CharField(blank=True, default="", max_length=255)
        ),
    ]
