"""Whether readers were told of a chunk is asked for single chunks."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0009_alerts_of_queues")]
    operations = [
        migrations.AddIndex("change", models.Index(fields=["chunk_id"], name="change_of_chunk")),
    ]
