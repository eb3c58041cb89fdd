from django.db import migrations, models
from django.db.models import F


class Migration(migrations.Migration):
    dependencies = [("reviews", "0003_missed_deliveries")]

    operations = [
        migrations.AddIndex(
            model_name="issue",
            index=models.Index(F("repository"), F("enriched_at").desc(), name="issue_enriched"),
        ),
    ]
