"""Verbs of `manage.py reminders` about the ways to people. Addresses and secrets come from files or stdin."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.management.output import plain
from jobs.management.rows import RowsCommand, add_id, add_list, chosen, option, settings_of
from jobs.management.secrets import add_secrets, with_secrets
from jobs.operators.actors import command_actor
from reminders.models import ChannelKind
from reminders.operators import access
from reminders.operators import reminders as operators
from reminders.services import channels

#: Of an address, too, some are secrets: chats put theirs into the path.
SECRETS = ("address", "secret")
COLUMNS = {
    "id": "ID",
    "user": "USER",
    "kind": "KIND",
    "label": "LABEL",
    "enabled": "ENABLED",
    "unsubscribed_at": "UNSUBSCRIBED",
    "set_aside_because": "SET ASIDE",
    "confirmation": "CONFIRMATION",
}


class ChannelVerbs(RowsCommand):
    def do_channels(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.reminder_serializers import ChannelSerializer

        narrowed = chosen(options, "user", "kind")
        if options["unusable"]:
            narrowed["usable"] = False
        found = operators.ways(command_actor(), **narrowed).order_by("-created_at", "-id")
        self.print_rows(found, ChannelSerializer, COLUMNS, as_json, options["limit"])

    def do_show_channel(self, as_json: bool, options: dict[str, Any]) -> None:
        self._channel(channels.find_channel(command_actor(), options["id"]), as_json)

    def do_add_channel(self, as_json: bool, options: dict[str, Any]) -> None:
        actor = command_actor()
        settings = {"kind": options["kind"], **settings_of(options["given"])}
        given = with_secrets(settings, options, SECRETS)
        person = access.require_self_or(actor, options["user"], "add_channel")
        made = channels.create_channel(actor, person.pk, given)
        is_signed = made.channel.kind == ChannelKind.WEBHOOK
        self._channel(made.channel, as_json, signing_secret=made.secret if is_signed else "")
        if is_signed:
            self.say("keep the signing secret now: it is not shown again")

    def do_change_channel(self, as_json: bool, options: dict[str, Any]) -> None:
        given = with_secrets(settings_of(options["given"]), options, SECRETS)
        if not given:
            raise CommandError("nothing to change; name it, such as label=nights or --address-file -", returncode=2)
        self._channel(channels.change_channel(command_actor(), options["id"], given), as_json)

    def do_enable_channel(self, as_json: bool, options: dict[str, Any]) -> None:
        self._channel(channels.enable_channel(command_actor(), options["id"]), as_json)

    def do_disable_channel(self, as_json: bool, options: dict[str, Any]) -> None:
        self._channel(channels.disable_channel(command_actor(), options["id"]), as_json)

    def do_ask_channel(self, as_json: bool, options: dict[str, Any]) -> None:
        self._channel(channels.ask_again(command_actor(), options["id"]), as_json)

    def do_test_channel(self, as_json: bool, options: dict[str, Any]) -> None:
        tested = channels.send_test(command_actor(), options["id"])
        if as_json:
            self.print_json({"sent": tested.sent, "answer": tested.answer})
        else:
            self.stdout.write(plain(f"{'sent' if tested.sent else 'not sent'}: {tested.answer}"))
        if not tested.sent:
            raise SystemExit(1)

    def do_new_secret(self, as_json: bool, options: dict[str, Any]) -> None:
        secret = channels.new_secret(command_actor(), options["id"])
        if as_json:
            self.print_json({"signing_secret": secret})
        else:
            self.stdout.write(secret)
        self.say("keep it now: it is not shown again, and the former one does not count any more")

    def do_delete_channel(self, as_json: bool, options: dict[str, Any]) -> None:
        channels.delete_channel(command_actor(), options["id"])
        if as_json:
            self.print_json({"deleted": options["id"]})
        else:
            self.stdout.write(f"channel {options['id']} is deleted")

    def _channel(self, row: Any, as_json: bool, **more: str) -> None:
        from reminders.api.reminder_serializers import ChannelSerializer

        self.print_row({**ChannelSerializer(row).data, **more}, as_json)


def _add_new(parser: ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="an account's name")
    parser.add_argument("kind", metavar="KIND", choices=ChannelKind.values, help=", ".join(ChannelKind.values))
    _add_settings(parser)


def _add_change(parser: ArgumentParser) -> None:
    add_id(parser)
    _add_settings(parser)


def _add_settings(parser: ArgumentParser) -> None:
    parser.add_argument("given", nargs="*", metavar="NAME=VALUE", help="label=nights, enabled=false")
    add_secrets(parser, SECRETS)


VERBS = [
    (
        "channels",
        "list the ways to people",
        add_list(
            option("user", "an account's name"),
            option("kind", "of the channel", choices=ChannelKind.values),
            option("unusable", "those by which nothing goes", action="store_true"),
        ),
    ),
    ("show-channel", "show one; of address and secret, whether they are entered", add_id),
    ("add-channel", "enter a way to somebody; a webhook's signing secret is told this once", _add_new),
    ("change-channel", "change one; with another address it is no longer set aside", _add_change),
    ("enable-channel", "use a channel again that was set aside, switched off or unsubscribed", add_id),
    ("disable-channel", "switch a channel off", add_id),
    ("ask-channel", "mail the link once more by which an address is confirmed", add_id),
    ("test-channel", "send a test message by a channel", add_id),
    ("new-secret", "have a webhook sign with another secret from now on", add_id),
    ("delete-channel", "delete one, with the record of what it delivered", add_id),
]
