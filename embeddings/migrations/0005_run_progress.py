from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0007_search")]
    operations = [
        migrations.AddField(
            model_name="embeddingrun",
            name="planned_to",
            field=models.BigIntegerField(default=0, help_text="The highest id of a chunk when it was planned."),
        ),
        migrations.AddField(
            model_name="embeddingbatch", name="finished_at", field=models.DateTimeField(null=True)
        ),
        migrations.AlterModelOptions(
            name="setaside",
            options={
                "default_permissions": ("view", "delete"),
                "verbose_name": "content set aside",
                "verbose_name_plural": "set aside",
            },
        ),
        migrations.AddIndex(
            model_name="embeddingrun",
            index=models.Index(name="run_of_job", fields=["job_id"], condition=~Q(job_id="")),
        ),
    ]
