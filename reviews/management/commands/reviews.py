"""`manage.py reviews`: list and show reviews of pull requests, retry and cancel them."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs, cell, plain, time_option
from jobs.management.rows import WIDTH, add_id, add_list, chosen, option
from jobs.operators.actors import command_actor
from reviews.management.rows import RowsCommand
from reviews.models import ReviewStatus
from reviews.operators import reviews as operators

COLUMNS = {
    "id": "ID",
    "status": "STATUS",
    "repository": "REPOSITORY",
    "number": "NUMBER",
    "head_sha": "HEAD",
    "provider": "PROVIDER",
    "told": "TOLD",
    "cost_usd": "USD",
    "created_at": "CREATED",
    "job": "JOB",
    "error": "ERROR",
}


class Command(RowsCommand):
    help = "List and show reviews of pull requests, retry failed ones, and cancel unfinished ones."
    examples = (
        "reviews list --repository acme/shop --status failed",
        "reviews show 12 --json",
        "reviews retry 12",
        "reviews cancel 12 --force",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list reviews, the newest first", _LIST),
                ("show", "show a review: its findings, what was read, its cost, settings and job", add_id),
                ("retry", "have the pull request of a failed review reviewed again", add_id),
                ("cancel", "cancel an unfinished review through its job", _add_cancel),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.review_serializers import ReviewSerializer

        asked = chosen(options, "repository", "status", "number", "provider")
        for name in ("created_after", "created_before"):
            asked[name] = time_option(f"--{name.replace('_', '-')}", options[name])
        found = operators.reviews(**asked).order_by("-created_at", "-id")
        self.print_rows(found, ReviewSerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(operators.find_review(options["id"]), as_json)

    def do_retry(self, as_json: bool, options: dict[str, Any]) -> None:
        asked = operators.retry_review(command_actor(), options["id"])
        if as_json:
            self._show(asked.review, as_json)
        else:
            self.stdout.write(plain(asked.said))

    def do_cancel(self, as_json: bool, options: dict[str, Any]) -> None:
        review = operators.cancel_review(command_actor(), options["id"], force=options["force"])
        if as_json:
            self._show(review, as_json)
        else:
            said = "is asked to stop" if review.finished_at is None else f"is {review.status}"
            self.stdout.write(f"review {review.pk} {said}")

    def _show(self, review: Any, as_json: bool) -> None:
        from reviews.api.review_serializers import ReviewDetailSerializer

        shown = ReviewDetailSerializer(review).data
        self.print_row(shown, as_json, but=("findings", "llm_calls"))
        if as_json:
            return
        for found in shown["findings"]:
            where = f"{found['path']}:{found['line']}"
            text = f"{found['id']} {where} {found['rule']} {found['message']} [{found['severity']}, {found['state']}]"
            self.stdout.write(f"{'finding':<{WIDTH}} {cell(text)}")
        for call in shown["llm_calls"]:
            text = f"{call['provider']} {call['purpose']}: ${call['cost_usd']} {call['error']}"
            self.stdout.write(f"{'call':<{WIDTH}} {cell(text)}")


_LIST = add_list(
    option("repository", "owner/name"),
    option("status", "may be repeated", action="append", choices=ReviewStatus.values),
    option("number", "of the pull request", type=int),
    option("provider", "who reviewed"),
    option("created-after", "ISO 8601", metavar="TIME"),
    option("created-before", "ISO 8601", metavar="TIME"),
)


def _add_cancel(parser: ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("--force", action="store_true", help="kill the job's process at once")
