"""`manage.py replies`: list and show comments that spoke to us, and what came of them."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs
from jobs.management.rows import add_id, add_list, chosen, option
from reviews.management.rows import RowsCommand
from reviews.models import ReplyStatus
from reviews.operators import replies as operators

COLUMNS = {
    "id": "ID",
    "status": "STATUS",
    "repository": "REPOSITORY",
    "number": "NUMBER",
    "author": "AUTHOR",
    "command": "COMMAND",
    "outcome": "OUTCOME",
    "created_at": "CREATED",
}


class Command(RowsCommand):
    help = "List and show comments that spoke to Switchyard, and what came of them."
    examples = ("replies list --repository acme/shop --status failed", "replies show 4")

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = [("list", "list comments, the newest first", _LIST), ("show", "show one, and the answer", add_id)]
        add_verbs(parser, verbs)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.settings_serializers import ReplySerializer

        asked = chosen(options, "repository", "number", "status", "author")
        found = operators.replies(**asked).order_by("-created_at", "-id")
        self.print_rows(found, ReplySerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.settings_serializers import ReplyDetailSerializer

        self.print_row(ReplyDetailSerializer(operators.find_reply(options["id"])).data, as_json)


_LIST = add_list(
    option("repository", "owner/name"),
    option("number", "of the pull request", type=int),
    option("status", "may be repeated", action="append", choices=ReplyStatus.values),
    option("author", "the account's name"),
)
