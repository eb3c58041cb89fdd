"""`manage.py schedules`: what runs by the clock."""

from argparse import ArgumentParser
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobs.api.serializers import EnqueuedSerializer, ScheduleSerializer
from jobs.management.output import OperatorCommand, add_verbs
from jobs.operators import schedules
from jobs.operators.actors import command_actor

COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "enabled": "ENABLED",
    "schedule": "WHEN",
    "next_run_at": "NEXT",
    "last_run_at": "LAST",
    "task": "TASK",
}


class Command(OperatorCommand):
    help = "List schedules, switch them on and off, and run them at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list the schedules by name", None),
                ("enable", "switch a schedule on, counting from now", _add_schedule),
                ("disable", "switch a schedule off", _add_schedule),
                ("run", "enqueue a schedule's job at once and print its id", _add_schedule),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        if verb == "list":
            found = PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked").order_by("name")
            rows = ScheduleSerializer(found, many=True).data
            if as_json:
                self.print_json(rows)
            else:
                self.print_table(COLUMNS, rows)
        elif verb == "run":
            self._run(options["schedule"], as_json)
        else:
            self._switch(options["schedule"], verb == "enable", as_json)

    def _switch(self, schedule: str, enabled: bool, as_json: bool) -> None:
        changed = schedules.set_enabled(command_actor(), schedule, enabled)
        if as_json:
            self.print_json(ScheduleSerializer(changed).data)
        self.say(f"{changed.name} is {'enabled' if enabled else 'disabled'}")

    def _run(self, schedule: str, as_json: bool) -> None:
        found = schedules.enqueue_run(command_actor(), schedule)
        if found.folded:
            self.say(f"folded into job {found.job.pk}, which is {found.job.state} and has the same unique key")
        if as_json:
            self.print_json({**EnqueuedSerializer(found.job).data, "folded": found.folded})
        else:
            self.stdout.write(found.job.pk)


def _add_schedule(parser: ArgumentParser) -> None:
    parser.add_argument("schedule", metavar="NAME-OR-ID")
