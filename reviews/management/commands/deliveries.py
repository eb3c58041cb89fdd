"""`manage.py deliveries`: list and show what GitHub delivered, and have it handled or sent again."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs, plain, time_option
from jobs.management.rows import add_list, chosen, option
from jobs.operators.actors import command_actor
from reviews.management.rows import RowsCommand
from reviews.operators import deliveries as operators

COLUMNS = {
    "id": "ID",
    "received_at": "RECEIVED",
    "event": "EVENT",
    "action": "ACTION",
    "repository": "REPOSITORY",
    "outcome": "OUTCOME",
    "guid": "GUID",
}

MISSED_COLUMNS = {
    "id": "ID",
    "delivered_at": "DELIVERED",
    "event": "EVENT",
    "action": "ACTION",
    "access": "APP",
    "status_code": "ANSWER",
    "asked": "ASKED",
    "error": "ERROR",
    "guid": "GUID",
}


class Command(RowsCommand):
    help = "List and show GitHub's deliveries, and have them handled, or sent, again."
    examples = (
        "deliveries list --event pull_request --outcome ignored",
        "deliveries show 72d3162e-cc78-11e3-81ab-4c9367dc0958 --json",
        "deliveries handle 81",
        "deliveries redeliver 81",
        "deliveries missed --ask 12",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list deliveries, the newest first", _LIST),
                ("show", "show one with its payload", _add_delivery),
                ("missed", "list what never arrived, or have one of them sent now", _MISSED),
                ("handle", "start anew what it asks for", _add_delivery),
                ("redeliver", "the same, or have GitHub send it again where its payload was not kept", _add_delivery),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.review_serializers import GitHubDeliverySerializer

        asked = chosen(options, "event", "action", "repository", "outcome")
        for name in ("received_after", "received_before"):
            asked[name] = time_option(f"--{name.replace('_', '-')}", options[name])
        found = operators.deliveries(**asked).order_by("-received_at", "-id")
        self.print_rows(found, GitHubDeliverySerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.review_serializers import GitHubDeliveryDetailSerializer

        self.print_row(GitHubDeliveryDetailSerializer(operators.delivery_of(options["delivery"])).data, as_json)

    def do_missed(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.review_serializers import MissedDeliverySerializer

        if options["ask"] is None:
            found = operators.missed_deliveries(**chosen(options, "event", "access")).order_by("-delivered_at", "-id")
            self.print_rows(found, MissedDeliverySerializer, MISSED_COLUMNS, as_json, options["limit"])
            return
        asked = operators.ask_for_missed(command_actor(), options["ask"])
        if as_json:
            self.print_json(MissedDeliverySerializer(asked).data)
        else:
            self.stdout.write(plain(f"GitHub was asked to send {asked} again"))

    def do_handle(self, as_json: bool, options: dict[str, Any]) -> None:
        delivery = operators.handle_again(command_actor(), operators.delivery_of(options["delivery"]).pk)
        self._told(delivery, delivery.outcome, as_json)

    def do_redeliver(self, as_json: bool, options: dict[str, Any]) -> None:
        found = operators.delivery_of(options["delivery"])
        self._told(*operators.redeliver_delivery(command_actor(), found.pk), as_json)

    def _told(self, delivery: Any, said: str, as_json: bool) -> None:
        from reviews.api.review_serializers import GitHubDeliverySerializer

        if as_json:
            self.print_json({**GitHubDeliverySerializer(delivery).data, "said": said})
        else:
            self.stdout.write(plain(said))


_LIST = add_list(
    option("event", "the exact event"),
    option("action", "the exact action"),
    option("repository", "owner/name"),
    option("outcome", "what came of it", choices=list(operators.OUTCOMES)),
    option("received-after", "ISO 8601", metavar="TIME"),
    option("received-before", "ISO 8601", metavar="TIME"),
)

_MISSED = add_list(
    option("event", "the exact event"),
    option("access", "the App that it was for, by name"),
    option("ask", "have GitHub send this one now", type=int, metavar="ID"),
)


def _add_delivery(parser: ArgumentParser) -> None:
    parser.add_argument("delivery", metavar="ID", help="its number here, or GitHub's id")
