from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("reminders", "0007_scan_indexes")]

    operations = [
        migrations.RemoveIndex(model_name="blob", name="blob_to_scan"),
        migrations.AddIndex(
            model_name="blob",
            index=models.Index(
                name="blob_to_scan", fields=["id"], condition=Q(scan_state__in=("pending", "not_scanned"))
            ),
        ),
        migrations.AddIndex(
            model_name="blob",
            index=models.Index(name="blob_to_show", fields=["id"], condition=Q(thumbnail_state="pending")),
        ),
    ]
