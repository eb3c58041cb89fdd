from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reviews", "0014_ids_of_each_server")]

    operations = [
        migrations.AddField(
            model_name="reply",
            name="result",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
    ]
