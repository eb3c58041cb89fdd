"""`manage.py code_indexes`: list, show, request and remove indexes of repositories' code."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs
from jobs.management.rows import add_id, add_list, chosen, option
from jobs.operators.actors import command_actor
from reviews.management.rows import RowsCommand
from reviews.models import IndexState
from reviews.operators import code_indexes as operators

COLUMNS = {
    "id": "ID",
    "repository": "REPOSITORY",
    "state": "STATE",
    "sha": "COMMIT",
    "files": "FILES",
    "symbols": "SYMBOLS",
    "chunks": "CHUNKS",
    "indexed_at": "INDEXED",
    "error": "ERROR",
}


class Command(RowsCommand):
    help = "List and show indexes of repositories' code, have one brought up to date, or removed."
    examples = ("code_indexes list --state failed", "code_indexes request acme/shop", "code_indexes remove 3")

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list indexes, the newest first", _LIST),
                ("show", "show one", add_id),
                ("request", "have one brought up to date, by a job (see also: index_repository)", _add_name),
                ("remove", "have one removed, with its copy of the repository, by a job", add_id),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.settings_serializers import CodeIndexSerializer

        found = operators.code_indexes(**chosen(options, "repository", "state")).order_by("-id")
        self.print_rows(found, CodeIndexSerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.settings_serializers import CodeIndexSerializer

        self.print_row(CodeIndexSerializer(operators.find_code_index(options["id"])).data, as_json)

    def do_request(self, as_json: bool, options: dict[str, Any]) -> None:
        row, job = operators.request_index(command_actor(), options["repository"])
        self._told({"repository": row.full_name, "job": job}, as_json)

    def do_remove(self, as_json: bool, options: dict[str, Any]) -> None:
        self._told({"job": operators.remove_index(command_actor(), options["id"])}, as_json)

    def _told(self, said: dict[str, str], as_json: bool) -> None:
        if as_json:
            self.print_json(said)
        else:
            self.stdout.write(f"job {said['job']}")


_LIST = add_list(
    option("repository", "owner/name"),
    option("state", "may be repeated", action="append", choices=IndexState.values),
)


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("repository", metavar="OWNER/NAME")
