"""An alert on scans for due reminders that do not succeed; operators say whom it tells."""

from typing import Any, ClassVar

from django.db import migrations

NAME = "Reminders stand still"


def make(apps: Any, schema_editor: Any) -> None:
    apps.get_model("jobs", "Alert").objects.get_or_create(
        name=NAME,
        defaults={
            "kind": "age",
            "task": "reminders.send_due_soon",
            # A scan is each minute. The wait is for a start after a stop: the first scan is a moment away.
            "threshold": 300,
            "for_seconds": 60,
        },
    )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reminders", "0009_default_rules"), ("jobs", "0012_alerts_of_ages")]
    operations: ClassVar = [migrations.RunPython(make, migrations.RunPython.noop)]
