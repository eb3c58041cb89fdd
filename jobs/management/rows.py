"""What commands on rows share: examples in --help, lists, and one row shown whole."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from jobs import strict_json
from jobs.management.output import OperatorCommand, cell
from jobs.operators.lookups import NotHere
from jobs.operators.settings import SettingsRefused

MAX_LIMIT = 200
WIDTH = 20
_CODES = "exit codes:  0 done;  1 it failed, or was refused as things are;  2 wrong use"


class _Help(RawDescriptionHelpFormatter):
    """Keeps examples as they are written."""


class RowsCommand(OperatorCommand):
    """examples: lines that people can copy."""

    examples: Sequence[str] = ()
    wrong_use: tuple[type[Exception], ...] = (NotHere, SettingsRefused)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        lines = "\n".join(f"  manage.py {line}" for line in self.examples)
        epilog = f"examples:\n{lines}\n\n{_CODES}"
        return super().create_parser(prog_name, subcommand, formatter_class=_Help, epilog=epilog, **kwargs)

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{verb.replace('-', '_')}")(as_json, options)

    def print_rows(
        self, found: QuerySet[Any], serializer: Any, columns: Mapping[str, str], as_json: bool, limit: int
    ) -> None:
        """The first rows of what was found, in its order."""
        if not 1 <= limit <= MAX_LIMIT:
            raise CommandError(f"--limit is {limit}; it takes 1 to {MAX_LIMIT}", returncode=2)
        rows = list(serializer(found[:limit], many=True).data)
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(columns, rows)

    def print_row(self, shown: Mapping[str, Any], as_json: bool, but: Sequence[str] = ()) -> None:
        """but: what is left out for people, and told otherwise."""
        if as_json:
            self.print_json(shown)
            return
        for key, value in shown.items():
            if key not in but:
                self.stdout.write(f"{key:<{WIDTH}} {cell(value)}")


def add_list(*filters: Callable[[ArgumentParser], object]) -> Callable[[ArgumentParser], None]:
    """What adds the arguments of a list: its filters, and --limit."""

    def add(parser: ArgumentParser) -> None:
        for one in filters:
            one(parser)
        parser.add_argument("--limit", type=int, default=20, help=f"how many at most, up to {MAX_LIMIT} (default 20)")

    return add


def option(name: str, help_text: str, **more: Any) -> Callable[[ArgumentParser], object]:
    return lambda parser: parser.add_argument(f"--{name}", help=help_text, **more)


def add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=int)


def chosen(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those filters that were given."""
    return {name: options[name] for name in names if options[name] not in (None, [], "")}


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE each, the value as JSON, or, where it is none, as a text. Raises CommandError."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise CommandError(f"{pair[:80]!r} is no setting; write NAME=VALUE, such as enabled=false", returncode=2)
        try:
            found[name] = strict_json.loads(text)
        except strict_json.NotJson:
            found[name] = text
    return found
