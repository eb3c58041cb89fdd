"""`manage.py reminders`: the scan, what fired, what was sent, and why somebody was or was not reminded."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.management.output import add_verbs, plain, time_option
from jobs.management.rows import add_list, chosen, option, settings_of
from jobs.operators.actors import command_actor
from reminders.management.channel_verbs import VERBS as CHANNEL_VERBS
from reminders.management.channel_verbs import ChannelVerbs
from reminders.management.rule_verbs import VERBS as RULE_VERBS
from reminders.management.rule_verbs import RuleVerbs
from reminders.models import ChannelKind, DeliveryState, ReminderState
from reminders.operators import explaining, people
from reminders.operators import reminders as operators
from reminders.services import channels
from reminders.services.addresses import suppressed_as

REMINDERS = {
    "id": "ID",
    "state": "STATE",
    "fire_at": "TIME",
    "recipient": "RECIPIENT",
    "kind": "KIND",
    "todo": "TASK",
    "title": "TITLE",
    "reason": "REASON",
}
DELIVERIES = {
    "id": "ID",
    "state": "STATE",
    "created_at": "WRITTEN",
    "recipient": "RECIPIENT",
    "kind": "BY",
    "layout": "LAYOUT",
    "message_id": "MESSAGE-ID",
    "error": "ERROR",
}
SUPPRESSIONS = {"id": "ID", "address": "ADDRESS", "created_at": "SINCE", "reason": "REASON"}
AHEAD = {"local": "TIME", "todo": "TASK", "title": "TITLE", "what": "RULE", "held_until": "HELD UNTIL", "why": "WHY"}


class Command(RuleVerbs, ChannelVerbs):
    help = "Send what is due, explain why somebody was or was not reminded, and see to deliveries, rules and channels."
    failed = (channels.ChannelRefused,)
    examples = (
        "reminders send                 # what is due, at once",
        "reminders explain 7 anna       # every rule of task 7 that concerns anna, in a sentence each",
        "reminders deliveries --state failed",
        "reminders retry 41",
        "reminders preview anna",
        "reminders preferences anna time_zone=Europe/Berlin quiet_from=22:00 quiet_until=07:00",
        "reminders rules --user anna   # her default rules",
        "reminders add-rule anna offset=-PT30M",
        "reminders change-rule 12 offset=-P1D anchor=start",
        "reminders channels --user anna",
        "reminders add-channel anna webhook label='on call' --address-file url.txt   # tells its signing secret, once",
        "reminders enable-channel 3",
        "reminders lift anna@example.org",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("send", "scan for what is due now, and send a job for each delivery", None),
                ("explain", "tell why somebody was, was not or will be reminded of a task", _add_explain),
                ("list", "list reminders that fired, the newest first", _REMINDERS),
                ("deliveries", "list what was to be sent, the newest first", _DELIVERIES),
                ("retry", "send deliveries again that failed", _add_ids),
                ("preview", "list what comes to somebody next", _add_user),
                ("preferences", "show or change somebody's clock and hours", _add_preferences),
                *RULE_VERBS,
                *CHANNEL_VERBS,
                ("suppressions", "list addresses that refused mail for good", _SUPPRESSIONS),
                ("lift", "mail an address again that was suppressed", _add_address),
            ],
        )

    def do_send(self, as_json: bool, options: dict[str, Any]) -> None:
        done = operators.scan_here(command_actor())
        if as_json:
            self.print_json(done)
            return
        self.stdout.write(
            f"{done['fired']} fired, {done['held']} held, {done['dropped']} not sent, {done['expired']} too late; "
            f"{done['deliveries']} deliveries, {done['sent_jobs']} jobs sent"
        )

    def do_explain(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.reminder_serializers import ExplanationSerializer

        told = explaining.explain_todo(command_actor(), options["todo"], options["user"])
        if as_json:
            self.print_json(ExplanationSerializer(told).data)
            return
        lines = [f"Task {told.todo.pk}, “{told.todo.title}”, for {told.user.get_username()} ({told.zone})", ""]
        lines += [told.summary, ""]
        for line in told.rules:
            lines.append(f"{'*' if line.applies else '-'} {line.what}")
            lines += [f"    {words}" for words in (line.words, *line.earlier) if words]
        lines += ["", *told.notes]
        for text in lines:
            self.stdout.write(plain(text.replace("\n", " ")))

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.reminder_serializers import ReminderSerializer

        narrowed = chosen(options, "state", "recipient", "todo", "kind")
        found = operators.reminders(
            command_actor(), **narrowed, fired_after=time_option("--fired-after", options["fired_after"])
        )
        self.print_rows(found.order_by("-id"), ReminderSerializer, REMINDERS, as_json, options["limit"])

    def do_deliveries(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.reminder_serializers import ReminderDeliverySerializer

        found = operators.deliveries(command_actor(), **chosen(options, "state", "recipient", "todo", "kind"))
        self.print_rows(found.order_by("-id"), ReminderDeliverySerializer, DELIVERIES, as_json, options["limit"])

    def do_retry(self, as_json: bool, options: dict[str, Any]) -> None:
        rows = [channels.retry_delivery(command_actor(), delivery_id) for delivery_id in options["ids"]]
        if as_json:
            self.print_json([{"id": row.pk, "state": row.state, "job": row.job_id} for row in rows])
        for row in [] if as_json else rows:
            self.stdout.write(f"delivery {row.pk} is sent again by job {row.job_id}")

    def do_preview(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.reminder_serializers import UpcomingSerializer

        rows = UpcomingSerializer(people.upcoming(command_actor(), options["user"], 50), many=True).data
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(AHEAD, rows)

    def do_preferences(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.reminder_serializers import PreferencesSerializer

        actor, given = command_actor(), settings_of(options["given"])
        if given:
            people.change_preferences(actor, given, options["user"])
        self.print_row(PreferencesSerializer(people.preferences(actor, options["user"])).data, as_json)

    def do_suppressions(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.reminder_serializers import SuppressionSerializer

        found = operators.suppressions(command_actor(), search=options["search"] or "").order_by("-created_at", "-id")
        self.print_rows(found, SuppressionSerializer, SUPPRESSIONS, as_json, options["limit"])

    def do_lift(self, as_json: bool, options: dict[str, Any]) -> None:
        address = suppressed_as(options["address"])
        row = operators.suppressions(command_actor(), search=address).filter(address=address).first()
        if row is None:
            raise CommandError(
                f"{address[:254]!r} is not suppressed; see manage.py reminders suppressions", returncode=2
            )
        channels.lift_suppression(command_actor(), row.pk)
        if as_json:
            self.print_json({"lifted": address})
        else:
            self.stdout.write(plain(f"{address} is mailed again"))


def _add_explain(parser: ArgumentParser) -> None:
    parser.add_argument("todo", type=int, metavar="TODO", help="the task's number")
    parser.add_argument("user", metavar="USER", help="an account's name")


def _add_ids(parser: ArgumentParser) -> None:
    parser.add_argument("ids", type=int, nargs="+", metavar="id")


def _add_user(parser: ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="an account's name")


def _add_preferences(parser: ArgumentParser) -> None:
    _add_user(parser)
    parser.add_argument(
        "given", nargs="*", metavar="NAME=VALUE", help="such as quiet_from=22:00, digest_from=0, paused_until=P7D"
    )


def _add_address(parser: ArgumentParser) -> None:
    parser.add_argument("address")


_RECIPIENT = option("recipient", "an account's name")
_TODO = option("todo", "a task's number", type=int)
_REMINDERS = add_list(
    option("state", "what became of them", choices=ReminderState.values),
    option("kind", "the beginning of the kind, such as overdue or snooze"),
    option("fired-after", "a time such as 2027-01-31T08:00Z"),
    _RECIPIENT,
    _TODO,
)
_DELIVERIES = add_list(
    option("state", "what became of them", choices=DeliveryState.values),
    option("kind", "of the channel", choices=ChannelKind.values),
    _RECIPIENT,
    _TODO,
)
_SUPPRESSIONS = add_list(option("search", "the beginning of an address"))
