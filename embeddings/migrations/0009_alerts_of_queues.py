"""Alerts on whatever fails of building and swapping indexes, and of embedding; operators say whom they tell."""

from django.db import migrations
from django.db.models.functions import Now

BUILDS, EMBEDDING = "Index builds", "Embedding"
# Rebuilds are hourly: one that keeps failing keeps it firing.
WINDOW_SECONDS = 5400


def widen(apps, schema_editor):
    alerts = apps.get_model("jobs", "Alert").objects
    # One that was pointed elsewhere meanwhile stays as it is.
    seeded = alerts.filter(name=BUILDS, kind="failed", queue="", task="build_faiss_index")
    seeded.update(queue="indexing", task="", changed_at=Now())
    alerts.get_or_create(
        name=EMBEDDING,
        defaults={"kind": "failed", "queue": "embedding", "threshold": 1, "window_seconds": WINDOW_SECONDS},
    )


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0008_samples_without_texts"), ("jobs", "0011_workflows")]
    operations = [migrations.RunPython(widen, migrations.RunPython.noop)]
