from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_schedule_policies")]

    operations: list[migrations.operations.base.Operation] = []
