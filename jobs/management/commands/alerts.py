"""`manage.py alerts`: what is watched, whom it tells, and what became of that."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.api.alert_views import AlertDetailSerializer, AlertEventSerializer, AlertSerializer
from jobs.management.output import OperatorCommand, add_verbs, cell
from jobs.models import AlertKind, DeliveryState
from jobs.operators import alerts as operators
from jobs.operators.actors import command_actor

COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "state": "STATE",
    "kind": "KIND",
    "queue": "QUEUE",
    "task": "TASK",
    "value": "VALUE",
    "threshold": "THRESHOLD",
    "mail_to": "MAIL",
    "webhook": "WEBHOOK",
}
EVENT_COLUMNS = {"at": "AT", "kind": "EVENT", "text": "TEXT"}


class Command(OperatorCommand):
    help = "List, show, make, edit, switch, test and delete alerts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list the alerts and their states", None),
                ("show", "show one alert, its latest events and whether they were told", _add_alert),
                ("create", "make an alert", _add_create),
                ("edit", "change an alert", _add_edit),
                ("enable", "switch an alert on", _add_alert),
                ("disable", "switch an alert off", _add_alert),
                ("test", "send a test message by each of its channels, and say what became of it", _add_alert),
                ("secret", "show what its webhook signs with", _add_secret),
                ("delete", "delete an alert with its history", _add_alert),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{verb}")(as_json, options)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        rows = AlertSerializer(operators.alerts(), many=True).data
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(COLUMNS, rows)

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(operators.find_alert(options["alert"]), as_json)

    def do_create(self, as_json: bool, options: dict[str, Any]) -> None:
        values = {"kind": options["kind"], "name": options["name"], **_values(options)}
        self._show(operators.create_alert(command_actor(), values), as_json)

    def do_edit(self, as_json: bool, options: dict[str, Any]) -> None:
        values = _values(options)
        if options["rename"] is not None:
            values["name"] = options["rename"]
        if not values:
            raise CommandError("nothing to change; see: manage.py alerts edit --help", returncode=2)
        self._show(operators.change_alert(command_actor(), options["alert"], values), as_json)

    def do_enable(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(operators.enable_alert(command_actor(), options["alert"], True), as_json)

    def do_disable(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(operators.enable_alert(command_actor(), options["alert"], False), as_json)

    def do_test(self, as_json: bool, options: dict[str, Any]) -> None:
        """Raises CommandError (exit code 1) unless every channel took the message."""
        event = AlertEventSerializer(operators.try_alert(command_actor(), options["alert"], wait=True)).data
        if as_json:
            self.print_json(event)
        failed = [one for one in event["deliveries"] if one["state"] != DeliveryState.SENT]
        for one in event["deliveries"]:
            self.say(f"{one['channel']}: {one['state']}{': ' + cell(one['error']) if one['error'] else ''}")
        if failed:
            raise CommandError(f"{len(failed)} of {len(event['deliveries'])} channels failed", returncode=1)

    def do_secret(self, as_json: bool, options: dict[str, Any]) -> None:
        secret = operators.webhook_secret(command_actor(), options["alert"], rotate=options["rotate"])
        if as_json:
            self.print_json({"secret": secret})
        else:
            self.stdout.write(secret)

    def do_delete(self, as_json: bool, options: dict[str, Any]) -> None:
        alert = operators.find_alert(options["alert"])
        operators.delete_alert(command_actor(), alert.pk)
        if as_json:
            self.print_json({"deleted": alert.pk})
        self.say(f"alert {alert.name} is deleted")

    def _show(self, alert: Any, as_json: bool) -> None:
        shown = AlertDetailSerializer(alert).data
        if as_json:
            self.print_json(shown)
            return
        for key, value in shown.items():
            if key != "events":
                self.stdout.write(f"{key:<20}{cell(value)}")
        rows = [{**event, "text": f"{event['text']}{_told(event)}"} for event in shown["events"]]
        if rows:
            self.stdout.write("")
            self.print_table(EVENT_COLUMNS, rows)


def _told(event: dict[str, Any]) -> str:
    parts = [
        f"{one['channel']} {one['state']}{' ' + one['error'] if one['error'] else ''}" for one in event["deliveries"]
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _values(options: dict[str, Any]) -> dict[str, Any]:
    """What was given of what can be set."""
    values: dict[str, Any] = {
        name: options[name]
        for name in ("queue", "task", *operators.NUMBERS, "webhook_url")
        if options[name] is not None
    }
    if options["mail_to"] is not None:
        values["mail_to"] = [address for address in options["mail_to"] if address]
    return values


def _add_alert(parser: ArgumentParser) -> None:
    parser.add_argument("alert", metavar="ALERT", help="its number or its name")


def _add_fields(parser: ArgumentParser, *, threshold_needed: bool) -> None:
    parser.add_argument("--queue", help="watch this queue alone; '' for all")
    parser.add_argument("--task", help="count failed jobs of this task alone, '' for all; or whose age is watched")
    parser.add_argument("--threshold", type=int, required=threshold_needed, help="jobs, or seconds, that it fires at")
    parser.add_argument("--window-seconds", type=int, help="how far back failed jobs count")
    parser.add_argument("--for-seconds", type=int, help="how long the threshold must be reached before it fires")
    parser.add_argument("--cooldown-seconds", type=int, help="it fires again no sooner than this")
    parser.add_argument("--mail-to", action="append", metavar="ADDRESS", help="may be repeated; '' for none")
    parser.add_argument("--webhook-url", metavar="URL", help="where to post; '' for none")


def _add_create(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("kind", choices=AlertKind.values, help="; ".join(f"{k.value}: {k.label}" for k in AlertKind))
    _add_fields(parser, threshold_needed=True)


def _add_edit(parser: ArgumentParser) -> None:
    _add_alert(parser)
    parser.add_argument("--rename", metavar="NAME", help="its new name")
    _add_fields(parser, threshold_needed=False)


def _add_secret(parser: ArgumentParser) -> None:
    _add_alert(parser)
    parser.add_argument("--rotate", action="store_true", help="make a new one, in force at once")
