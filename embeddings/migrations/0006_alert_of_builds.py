"""An alert on index builds that fail, the refused ones among them; operators say whom it tells."""

from django.db import migrations

NAME = "Index builds"


def make(apps, schema_editor):
    apps.get_model("jobs", "Alert").objects.get_or_create(
        name=NAME,
        defaults={
            "kind": "failed",
            "task": "build_faiss_index",
            "threshold": 1,
            # Builds are hourly: one that keeps failing keeps it firing.
            "window_seconds": 5400,
        },
    )


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0005_run_progress"), ("jobs", "0011_workflows")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
