"""Quiet hours that ended when they began were never: nothing was held by them, and now they are told so.

First none can be written any more, by a process of the former version either; then those that are there are emptied.
"""

from typing import Any, ClassVar

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import F, Q


def empty(apps: Any, schema_editor: Any) -> None:
    rows = apps.get_model("reminders", "Preferences").objects.filter(quiet_from=F("quiet_until"))
    rows.update(quiet_from=None, quiet_until=None)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reminders", "0010_alert_of_scans")]
    operations: ClassVar = [
        AddConstraintNotValid(
            "preferences",
            models.CheckConstraint(name="preferences_quiet_length", condition=~Q(quiet_from=F("quiet_until"))),
        ),
        migrations.RunPython(empty, migrations.RunPython.noop),
    ]
