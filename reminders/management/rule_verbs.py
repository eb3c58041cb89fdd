"""Verbs of `manage.py reminders` about rules: the default rules of people; and any rule by its number."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.management.rows import RowsCommand, add_id, add_list, option, settings_of
from jobs.operators.actors import command_actor
from reminders.operators import rules

COLUMNS = {
    "id": "ID",
    "person": "PERSON",
    "words": "WHEN",
    "offset": "OFFSET",
    "set_aside_because": "SET ASIDE",
}


class RuleVerbs(RowsCommand):
    def do_rules(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.todo_serializers import RuleSerializer

        if options["user"] and options["search"]:
            raise CommandError("--user names one account, --search the beginning of names; give one", returncode=2)
        actor = command_actor()
        found: Any = (
            rules.default_rules(actor, options["user"])
            if options["user"]
            else rules.default_rules_of_all(actor, search=options["search"] or "")
        )
        self.print_rows(found.order_by("-id"), RuleSerializer, COLUMNS, as_json, options["limit"])

    def do_show_rule(self, as_json: bool, options: dict[str, Any]) -> None:
        self._rule(rules.find_rule(command_actor(), options["id"]), as_json)

    def do_add_rule(self, as_json: bool, options: dict[str, Any]) -> None:
        given = settings_of(options["given"])
        self._rule(rules.add_default_rule(command_actor(), given, options["user"]), as_json)

    def do_change_rule(self, as_json: bool, options: dict[str, Any]) -> None:
        given = settings_of(options["given"])
        if not given:
            raise CommandError("nothing to change; name it, such as offset=-PT2H", returncode=2)
        self._rule(rules.change_rule(command_actor(), options["id"], given), as_json)

    def do_enable_rule(self, as_json: bool, options: dict[str, Any]) -> None:
        self._rule(rules.enable_rule(command_actor(), options["id"]), as_json)

    def do_delete_rule(self, as_json: bool, options: dict[str, Any]) -> None:
        rules.delete_rule(command_actor(), options["id"])
        if as_json:
            self.print_json({"deleted": options["id"]})
        else:
            self.stdout.write(f"rule {options['id']} is deleted")

    def _rule(self, row: Any, as_json: bool) -> None:
        from reminders.api.todo_serializers import RuleSerializer

        self.print_row(RuleSerializer(row).data, as_json)


def _add_new(parser: ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="an account's name")
    parser.add_argument(
        "given", nargs="+", metavar="NAME=VALUE", help="offset=-PT15M, -P1D or PT0S; and anchor=due or start"
    )


def _add_change(parser: ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument(
        "given",
        nargs="*",
        metavar="NAME=VALUE",
        help="such as offset=-PT2H; of a task's rule also at, audience, person",
    )


VERBS = [
    (
        "rules",
        "list default rules of people, the newest first",
        add_list(option("user", "of this account alone"), option("search", "the beginning of an account's name")),
    ),
    ("show-rule", "show one rule, of a person or of a task", add_id),
    ("add-rule", "add a default rule of somebody", _add_new),
    ("change-rule", "change a rule, of a person or of a task; one that was set aside is tried again", _add_change),
    ("enable-rule", "try a rule again that was set aside", add_id),
    ("delete-rule", "delete a rule with what is planned by it", add_id),
]
