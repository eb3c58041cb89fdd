from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_rescue")]

    operations: list[migrations.operations.base.Operation] = []
