from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [("reminders", "0004_blob_indexes")]

    operations = [
        migrations.AddIndex(
            model_name="reminderdelivery",
            index=models.Index(
                F("created_at").desc(),
                F("id").desc(),
                name="remdelivery_failed",
                condition=Q(state__in=("failed", "uncertain")),
            ),
        ),
    ]
