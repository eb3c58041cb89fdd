"""Samples of comparisons held texts, which outlived documents and were shown to all; those that did are emptied."""

from django.db import migrations


def empty(apps, schema_editor):
    apps.get_model("embeddings", "ModelComparison").objects.exclude(samples=[]).update(samples=[])


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0006_alert_of_builds")]
    operations = [migrations.RunPython(empty, migrations.RunPython.noop)]
