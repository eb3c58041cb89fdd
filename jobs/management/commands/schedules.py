"""`manage.py schedules`: what runs by the clock."""

from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from django.core.management.base import CommandError
from django_celery_beat.models import PeriodicTask

from jobs.api.schedule_serializers import RunSerializer, ScheduleSerializer, TickSerializer
from jobs.api.serializers import EnqueuedSerializer
from jobs.management.output import OperatorCommand, add_verbs, json_option, time_option
from jobs.models import CatchUp
from jobs.operators import schedule_edits, schedules
from jobs.operators.actors import command_actor
from jobs.operators.timetables import parse_cron, parse_every
from jobs.schedules.next_runs import MAX_COUNT, next_runs

CLEARABLE = ("queue", "priority", "start_time", "expires", "expire_seconds", "grace_seconds")
MAX_TICKS = 1000
COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "enabled": "ENABLED",
    "schedule": "WHEN",
    "next_run_at": "NEXT",
    "last_run_at": "LAST",
    "task": "TASK",
    "differs": "DIFFERS FROM CODE",
}
TICKS = {"due_at": "DUE", "outcome": "OUTCOME", "at": "DEALT WITH", "job": "JOB", "ticks": "TICKS", "detail": "DETAIL"}


class Command(OperatorCommand):
    help = "List, add, edit and delete schedules, switch them on and off, and run them at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list the schedules by name", None),
                ("show", "show a schedule, what differs from the code's default, and its latest ticks", _add_show),
                ("add", "make a schedule", _add_spec),
                ("edit", "change what is named of a schedule", _add_edit),
                ("delete", "delete a schedule; its jobs stay", _add_schedule),
                ("enable", "switch a schedule on, counting from now", _add_schedule),
                ("disable", "switch a schedule off", _add_schedule),
                ("upcoming", "list a schedule's next runs", _add_upcoming),
                ("run", "enqueue a schedule's job at once and print its id", _add_schedule),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        if verb == "list":
            rows = ScheduleSerializer(schedules.all_schedules().order_by("name"), many=True).data
            if as_json:
                self.print_json(rows)
            else:
                self.print_table(COLUMNS, [{**row, "differs": ", ".join(row["differs_from_default"])} for row in rows])
        elif verb == "show":
            self._show(options["schedule"], options["count"], as_json)
        elif verb == "add":
            self._tell("added", schedule_edits.create_schedule(command_actor(), _spec(options)), as_json)
        elif verb == "edit":
            changes = {**_spec(options), **dict.fromkeys(options["clear"] or ())}
            changed = schedule_edits.edit_schedule(command_actor(), options["schedule"], changes)
            self._tell("changed", changed, as_json)
        elif verb == "delete":
            self._tell("deleted", schedule_edits.delete_schedule(command_actor(), options["schedule"]), as_json)
        elif verb == "upcoming":
            self._upcoming(options["schedule"], options["count"], as_json)
        elif verb == "run":
            self._run(options["schedule"], as_json)
        else:
            self._switch(options["schedule"], verb == "enable", as_json)

    def _tell(self, done: str, schedule: PeriodicTask, as_json: bool) -> None:
        if as_json:
            self.print_json(ScheduleSerializer(schedule).data)
        self.say(f"{schedule.name} is {done}")

    def _switch(self, schedule: str, enabled: bool, as_json: bool) -> None:
        changed = schedules.set_enabled(command_actor(), schedule, enabled)
        if as_json:
            self.print_json(ScheduleSerializer(changed).data)
        self.say(f"{changed.name} is {'enabled' if enabled else 'disabled'}")

    def _show(self, schedule: str, count: int, as_json: bool) -> None:
        if not 1 <= count <= MAX_TICKS:
            raise CommandError(f"--count is {count}; it takes 1 to {MAX_TICKS}", returncode=2)
        found = schedules.find_schedule(schedule)
        shown = ScheduleSerializer(found).data
        ticks = TickSerializer(schedules.ticks_of(found)[:count], many=True).data
        if as_json:
            self.print_json({**shown, "ticks": ticks})
            return
        differs = shown.pop("differs_from_default")
        self.print_table(
            {"part": "PART", "value": "VALUE", "default": "DIFFERS FROM CODE'S"},
            [
                {"part": part, "value": value, "default": differs[part]["default"] if part in differs else None}
                for part, value in shown.items()
            ],
        )
        self.stdout.write("")
        self.print_table(TICKS, ticks)

    def _upcoming(self, schedule: str, count: int, as_json: bool) -> None:
        if not 1 <= count <= MAX_COUNT:
            raise CommandError(f"--count is {count}; it takes 1 to {MAX_COUNT}", returncode=2)
        found = schedules.find_schedule(schedule)
        runs = [RunSerializer(run).data for run in next_runs(found, count)]
        if not runs:
            self.say(f"{found.name} has no next run" if found.enabled else f"{found.name} is disabled")
        if as_json:
            self.print_json(runs)
        else:
            self.print_table({"run_at": "RUNS AT", "in_seconds": "IN SECONDS"}, runs)

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


def _add_show(parser: ArgumentParser) -> None:
    _add_schedule(parser)
    parser.add_argument("--count", type=int, default=10, help=f"how many ticks, up to {MAX_TICKS} (default 10)")


def _add_upcoming(parser: ArgumentParser) -> None:
    _add_schedule(parser)
    parser.add_argument("--count", type=int, default=5, help=f"how many, up to {MAX_COUNT} (default 5)")


def _add_edit(parser: ArgumentParser) -> None:
    _add_schedule(parser)
    _add_spec(parser)
    parser.add_argument("--clear", action="append", choices=CLEARABLE, help="empty this again (may be repeated)")


def _add_spec(parser: ArgumentParser) -> None:
    parser.add_argument("--name", help="unique; the origin of its jobs")
    parser.add_argument("--task", help="a registered task")
    parser.add_argument("--args", dest="job_args", metavar="JSON", help="positional arguments, a list")
    parser.add_argument("--kwargs", metavar="JSON", help="named arguments, an object")
    parser.add_argument("--every", metavar="TEXT", help="an interval, such as '15 minutes'")
    parser.add_argument("--cron", metavar="TEXT", help="five parts, such as '30 3 * * *'")
    parser.add_argument("--timezone", metavar="ZONE", help="of --cron, such as Europe/Lisbon (default: the site's)")
    parser.add_argument("--at", metavar="TIME", help="once, at this time (ISO 8601)")
    parser.add_argument("--solar", nargs=3, metavar=("EVENT", "LATITUDE", "LONGITUDE"), help="such as sunset 38.7 -9.1")
    parser.add_argument("--queue", help="default: the task's own")
    parser.add_argument("--priority", type=int, help="0 to 9; 9 is taken first")
    parser.add_argument("--start-time", metavar="TIME", help="not before this time")
    parser.add_argument("--expires", metavar="TIME", help="not after this time")
    parser.add_argument("--expire-seconds", type=int, help="how long its jobs may wait")
    parser.add_argument("--one-off", action=BooleanOptionalAction, default=None, help="run a single time")
    parser.add_argument("--enabled", action=BooleanOptionalAction, default=None, help="switched on")
    parser.add_argument("--description")
    parser.add_argument("--catch-up", choices=CatchUp.values, help="what becomes of missed ticks (default run_once)")
    parser.add_argument("--catch-up-limit", type=int, help="the most missed ticks that run_all runs (default 100)")
    parser.add_argument("--grace-seconds", type=int, help="a tick that is later than this is not run")


def _spec(options: dict[str, Any]) -> dict[str, Any]:
    """What the services take, from the options that were given."""
    if options["timezone"] is not None and options["cron"] is None:
        raise CommandError("--timezone goes with --cron; give both", returncode=2)
    plain = ("name", "task", "queue", "priority", "expire_seconds", "one_off", "enabled", "description")
    spec = {name: options[name] for name in (*plain, *schedule_edits.POLICY)}
    spec["args"] = json_option("--args", options["job_args"], list)
    spec["kwargs"] = json_option("--kwargs", options["kwargs"], dict)
    spec["start_time"] = time_option("--start-time", options["start_time"])
    spec["expires"] = time_option("--expires", options["expires"])
    if options["every"] is not None:
        spec["interval"] = parse_every(options["every"])
    if options["cron"] is not None:
        spec["crontab"] = parse_cron(options["cron"], options["timezone"])
    if options["at"] is not None:
        spec["clocked"] = {"at": time_option("--at", options["at"])}
    if options["solar"] is not None:
        spec["solar"] = dict(zip(("event", "latitude", "longitude"), options["solar"], strict=True))
    return {name: value for name, value in spec.items() if value is not None}
