"""What the operators' commands share: tables and JSON on stdout, the rest on stderr, and exit codes.

0: done. 1: the work failed. 2: wrong use (an unknown id or name, a value that is none, arguments that do not fit).
"""

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs import strict_json
from jobs.ledger.errors import JobRefused
from jobs.models import Alert, ApiToken, Job
from jobs.operators.alerts import AlertRefused
from jobs.operators.jobs import JobNotChanged
from jobs.operators.limits import LimitRefused, UnknownScope
from jobs.operators.schedules import ScheduleNotFound
from jobs.operators.timetables import ScheduleRefused
from jobs.operators.tokens import TokenRefused
from jobs.registry import ArgumentsDoNotFit, UnknownTask
from jobs.schedules.calls import ScheduleUnusable

WRONG_USE = (
    *(Alert.DoesNotExist, AlertRefused),
    *(LimitRefused, UnknownScope),
    *(UnknownTask, ArgumentsDoNotFit, JobRefused, ScheduleNotFound, ScheduleRefused, TokenRefused),
    *(Job.DoesNotExist, ApiToken.DoesNotExist),
)
FAILED = (JobNotChanged, ScheduleUnusable, PermissionDenied)


class OperatorCommand(BaseCommand):
    """A command whose errors are one line, and whose data can be had as JSON.

    wrong_use, failed: further errors of its services that end it with 2 and with 1.
    """

    requires_system_checks: list[str] = []
    wrong_use: tuple[type[Exception], ...] = ()
    failed: tuple[type[Exception], ...] = ()

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except WRONG_USE + self.wrong_use as exc:
            raise CommandError(_text(exc), returncode=2) from None
        except FAILED + self.failed as exc:
            raise CommandError(_text(exc), returncode=1) from None
        except (OperationalError, InterfaceError) as exc:
            reason = _text(exc).splitlines()[0][:300]
            raise CommandError(f"Postgres does not answer: {reason}; start it, or set DATABASE_URL") from None
        except ProgrammingError as exc:
            if "does not exist" not in str(exc):
                raise
            reason = _text(exc).splitlines()[0][:300]
            raise CommandError(f"the database is not set up ({reason}); run: manage.py migrate") from None
        except BrokenPipeError:
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None

    def print_json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder))

    def print_table(self, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
        """One line a row: a table on a terminal, else separated by tabs. columns: key → heading."""
        lines = [[cell(row.get(key)) for key in columns] for row in rows]
        if not self.stdout.isatty():
            self.stdout.write("\t".join(columns.values()))
            for line in lines:
                self.stdout.write("\t".join(line))
            return
        table = Table(*columns.values(), box=None, header_style="bold", pad_edge=False)
        for line in lines:
            table.add_row(*(Text(text, overflow="fold") for text in line))
        console = Console()
        with console.capture() as captured:
            console.print(table)
        self.stdout.write(captured.get(), ending="")

    def say(self, text: str) -> None:
        """A message, which is not data."""
        self.stderr.write(text, style_func=str)


def cell(value: Any) -> str:
    """One value on one line, without control characters: arguments and errors come from anywhere."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, cls=DjangoJSONEncoder)
    return plain(str(value)).replace("\n", " ")


def plain(text: str) -> str:
    """Text that cannot steer a terminal; line ends stay."""
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


def json_option(name: str, text: str | None, kind: type) -> Any:
    """Decode a JSON option. Raises CommandError for what is not JSON or not a list or object as wanted."""
    if text is None:
        return None
    try:
        value = strict_json.loads(text)
    except strict_json.NotJson as exc:
        raise CommandError(f"{name} {text[:80]!r} is not JSON: {exc}", returncode=2) from None
    if not isinstance(value, kind):
        wanted = "a list, such as '[1, \"a\"]'" if kind is list else "an object, such as '{\"id\": 1}'"
        raise CommandError(f"{name} {text[:80]!r} must be {wanted}", returncode=2)
    return value


def time_option(name: str, text: str | None) -> datetime | None:
    """Read a time, in the site's zone if it names none. Raises CommandError."""
    if text is None:
        return None
    try:
        when = parse_datetime(text)
        when = timezone.make_aware(when) if when is not None and when.tzinfo is None else when
    except (ValueError, OverflowError):
        when = None
    # At the ends of the calendar, another time zone's year is one that Postgres does not have.
    if when is None or not 1 < when.year < 9999:
        raise CommandError(f"{name} {text[:80]!r} is not an ISO 8601 time, such as 2027-01-31T08:00Z", returncode=2)
    return when


def add_verbs(
    parser: ArgumentParser, verbs: Sequence[tuple[str, str, Callable[[ArgumentParser], None] | None]]
) -> None:
    """Give a command its sub-commands (name, help, what adds their arguments); each takes --json."""
    chosen = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    for name, help_text, add in verbs:
        verb = chosen.add_parser(name, help=help_text, description=help_text[:1].upper() + help_text[1:] + ".")
        verb.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
        if add is not None:
            add(verb)


def _text(exc: Exception) -> str:
    """The message; a LookupError's own str() would quote it."""
    text = str(exc.args[0]) if exc.args else type(exc).__name__
    return text.encode("utf-8", "backslashreplace").decode().strip()
