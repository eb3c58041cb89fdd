from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0010_uniqueness")]

    operations: list[migrations.operations.base.Operation] = []
