"""The collection that is used where none is named."""

from django.db import migrations


def make(apps, schema_editor):
    apps.get_model("embeddings", "Collection").objects.get_or_create(
        # English finds other forms of a word, and of other languages' words the very ones.
        name="documents",
        defaults={"description": "Used where no collection is named.", "language": "english"},
    )


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0002_changes")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
