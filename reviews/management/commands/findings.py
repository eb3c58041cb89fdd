"""`manage.py findings`: list findings of reviews, dismiss and resolve them."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs
from jobs.management.rows import add_id, add_list, chosen, option
from jobs.operators.actors import command_actor
from reviews.management.rows import RowsCommand
from reviews.models import Finding, FindingState, Severity
from reviews.operators import findings as operators

COLUMNS = {
    "id": "ID",
    "repository": "REPOSITORY",
    "number": "NUMBER",
    "state": "STATE",
    "severity": "SEVERITY",
    "path": "PATH",
    "line": "LINE",
    "rule": "RULE",
    "message": "MESSAGE",
}


class Command(RowsCommand):
    help = "List findings of reviews, dismiss those that are none, and resolve those that were taken care of."
    examples = (
        "findings list --repository acme/shop --number 7",
        "findings dismiss 31   # it is not told again on its pull request",
        "findings resolve 32",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list findings, the newest first", _LIST),
                ("show", "show one, with the lines around it", add_id),
                ("dismiss", "say that one is none: it is not told again", add_id),
                ("resolve", "note that one was taken care of", add_id),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.review_serializers import FindingSerializer

        asked = chosen(options, "repository", "number", "review", "state", "severity", "rule")
        self.print_rows(
            operators.findings(**asked).order_by("-id"), FindingSerializer, COLUMNS, as_json, options["limit"]
        )

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        from jobs.management.output import plain

        found = operators.find_finding(options["id"])
        self._show(found, as_json)
        if not as_json and found.hunk:
            self.stdout.write(plain(found.hunk))

    def do_dismiss(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(operators.dismiss(operators.find_finding(options["id"]).pk, actor=command_actor()), as_json)

    def do_resolve(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(operators.resolve(operators.find_finding(options["id"]).pk, actor=command_actor()), as_json)

    def _show(self, finding: Finding, as_json: bool) -> None:
        from reviews.api.review_serializers import FindingSerializer

        self.print_row(FindingSerializer(finding).data, as_json, but=("hunk",))


_LIST = add_list(
    option("repository", "owner/name"),
    option("number", "of the pull request", type=int),
    option("review", "the review's number here", type=int),
    option("state", "may be repeated", action="append", choices=FindingState.values),
    option("severity", "high, medium or low", choices=Severity.values),
    option("rule", "the exact rule"),
)
