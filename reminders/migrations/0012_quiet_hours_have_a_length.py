"""Whether 22:00 to 22:00 is never or always is unclear, so it cannot be. Looked at while others read and write."""

from typing import ClassVar

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reminders", "0011_quiet_hours_of_no_length")]
    operations: ClassVar = [ValidateConstraint("preferences", "preferences_quiet_length")]
