"""A task that starts on a day without a time starts as that day begins; what was kept is the day's end.

A zone that Postgres does not know is put right with the task's next change.
"""

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reminders", "0014_states_of_confirmation")]
    operations: ClassVar = [
        migrations.RunSQL(
            """
            UPDATE reminders_todo AS t SET start_at = t.start_date::timestamp AT TIME ZONE z.name
            FROM pg_timezone_names AS z
            WHERE z.name = t.time_zone AND t.start_date IS NOT NULL AND t.start_time IS NULL
            """,
            migrations.RunSQL.noop,
        )
    ]
