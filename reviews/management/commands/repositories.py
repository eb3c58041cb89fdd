"""`manage.py repositories`: list, show, enter, change and forget repositories."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs
from jobs.management.rows import add_list, chosen, option, settings_of
from jobs.operators.actors import command_actor
from reviews.management.rows import RowsCommand
from reviews.models import Repository
from reviews.operators import repositories as operators
from reviews.operators.lookups import repository_of

COLUMNS = {
    "id": "ID",
    "full_name": "REPOSITORY",
    "enabled": "REVIEWED",
    "provider": "PROVIDER",
    "severity_floor": "FLOOR",
    "finding_budget": "BUDGET",
    "index_enabled": "INDEXED",
    "issues_enabled": "ISSUES",
    "access": "ACCESS",
    "removed_at": "GONE SINCE",
}


class Command(RowsCommand):
    help = "List, show, enter, change and forget repositories, and how each is reviewed."
    examples = (
        "repositories list --search acme",
        "repositories add acme/shop provider=embedded",
        "repositories set acme/shop enabled=false finding_budget=5",
        'repositories set acme/shop \'excluded_paths=["vendor/", "*.min.js"]\' access=null',
        "repositories remove acme/shop",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list repositories by name", _LIST),
                ("show", "show one, with all its settings", _add_name),
                ("add", "enter one by its name, before GitHub tells of it", _add_settings),
                ("set", "change settings; a value is JSON, or else a text", _add_settings),
                ("remove", "forget one, with its pull requests, reviews and issues", _add_name),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.review_serializers import RepositorySerializer

        found = operators.repositories(**chosen(options, "search", "provider")).order_by("full_name", "pk")
        self.print_rows(found, RepositorySerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(repository_of(options["repository"]), as_json)

    def do_add(self, as_json: bool, options: dict[str, Any]) -> None:
        settings = settings_of(options["given"])
        self._show(operators.create_repository(command_actor(), options["repository"], settings), as_json)

    def do_set(self, as_json: bool, options: dict[str, Any]) -> None:
        row = repository_of(options["repository"])
        settings = settings_of(options["given"])
        self._show(operators.change_repository(command_actor(), row.pk, settings), as_json)

    def do_remove(self, as_json: bool, options: dict[str, Any]) -> None:
        row = repository_of(options["repository"])
        operators.delete_repository(command_actor(), row.pk)
        if as_json:
            self.print_json({"removed": row.full_name})
        else:
            self.stdout.write(f"{row.full_name} is forgotten; a job removes its copy")

    def _show(self, row: Repository, as_json: bool) -> None:
        from reviews.api.review_serializers import RepositorySerializer

        self.print_row(RepositorySerializer(row).data, as_json)


_LIST = add_list(option("search", "a part of owner/name"), option("provider", "who reviews"))


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("repository", metavar="OWNER/NAME", help="or its number here")


def _add_settings(parser: ArgumentParser) -> None:
    parser.add_argument("repository", metavar="OWNER/NAME")
    parser.add_argument("given", nargs="*", metavar="NAME=VALUE")
