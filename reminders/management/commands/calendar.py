"""`manage.py calendar`: tasks in and out as iCalendar, and the secret addresses of feeds."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from jobs.management.output import add_verbs, plain
from jobs.management.rows import RowsCommand
from jobs.operators.actors import command_actor
from jobs.operators.lookups import NotHere
from reminders.api.calendar_views import feed_json, imported_json
from reminders.calendar.items import CalendarRefused
from reminders.calendar.lines import MAX_BYTES
from reminders.operators import access
from reminders.operators import calendars as operators


class Command(RowsCommand):
    help = "Import and export a person's tasks as iCalendar, and show, renew and revoke their feed."
    examples = (
        "calendar import tasks.ics --user anna",
        "calendar export --user anna > tasks.ics",
        "calendar feed renew --user anna",
    )
    wrong_use = (NotHere,)
    failed = (CalendarRefused,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("import", "take in the tasks of an .ics file", _add_import),
                ("export", "print open tasks, and those closed in the last 30 days, as iCalendar", _add_user),
                ("feed", "show, renew or revoke a person's calendar feed", _add_feed),
            ],
        )

    def do_import(self, as_json: bool, options: dict[str, Any]) -> None:
        person = access.person_named(options["user"])
        result = operators.import_calendar(command_actor(), person, _read(options["file"]))
        if as_json:
            self.print_json(imported_json(result))
        else:
            for problem in result.errors:
                name = plain(problem.summary or problem.uid or "the file").replace("\n", " ")[:80]
                where = f"line {problem.line}: " if problem.line else ""
                taken = "taken without that" if problem.imported else "not taken"
                self.say(plain(f"{where}{name}: {problem.what} ({taken}); {problem.remedy}").replace("\n", " "))
            made, changed, same = len(result.created), len(result.updated), len(result.unchanged)
            self.stdout.write(f"{made} made, {changed} changed, {same} unchanged")
        refused = sum(not problem.imported for problem in result.errors)
        if refused:
            raise CommandError(f"{refused} of the file's tasks were not taken; the rest was", returncode=1)

    def do_export(self, as_json: bool, options: dict[str, Any]) -> None:
        text = operators.export_calendar(command_actor(), access.person_named(options["user"]))
        if as_json:
            self.print_json({"calendar": text})
        else:
            self.stdout.write(text, ending="")

    def do_feed(self, as_json: bool, options: dict[str, Any]) -> None:
        person, actor = access.person_named(options["user"]), command_actor()
        shown: dict[str, Any]
        if options["what"] == "renew":
            feed, url = operators.renew_feed(actor, person)
            shown = {**feed_json(feed), "url": url}
        elif options["what"] == "revoke":
            shown = {"revoked": operators.revoke_feed(actor, person)}
        else:
            shown = feed_json(operators.find_feed(actor, person))
        self.print_row(shown, as_json)
        if "url" in shown:
            self.say("This address is shown this once; whoever has it reads these tasks.")


def _read(file: str) -> bytes:
    """Raises CommandError."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(file).open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as exc:
        raise CommandError(f"{file} cannot be read: {exc.strerror}", returncode=2) from None


def _add_user(parser: ArgumentParser) -> None:
    parser.add_argument("--user", required=True, metavar="NAME", help="whose tasks: the name of an account")


def _add_import(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an .ics file; - reads it from stdin")
    _add_user(parser)


def _add_feed(parser: ArgumentParser) -> None:
    parser.add_argument("what", choices=["show", "renew", "revoke"], help="renew makes it, or makes it anew")
    _add_user(parser)
