"""`manage.py todos`: tasks of people: found, added, changed, done, put off, deleted; and their rules."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.management.output import add_verbs, plain, time_option
from jobs.management.rows import RowsCommand, add_id, add_list, chosen, option, settings_of
from jobs.operators.actors import command_actor
from reminders import recurrence
from reminders.operators import rules
from reminders.operators import todos as operators
from reminders.operators.todo_values import PRIORITY_WORDS
from reminders.services.todos import TodoRefused
from reminders.wording import skipped_words

COLUMNS = {
    "id": "ID",
    "state": "STATE",
    "title": "TITLE",
    "due_date": "DUE",
    "due_time": "AT",
    "time_zone": "ZONE",
    "priority": "PRIORITY",
    "assignees": "ASSIGNEES",
    "creator": "CREATOR",
    "project": "PROJECT",
}
RULES = {
    "id": "ID",
    "words": "WHEN",
    "audience": "AUDIENCE",
    "person": "PERSON",
    "set_aside_because": "SET ASIDE",
}
#: Options of a task's settings: how they are given, and what for.
_TEXTS = {
    "due": "a day or a time of the task's zone, such as 2027-01-31 or 2027-01-31T09:00; empty: none",
    "start": "the same, for its start",
    "zone": "the zone of its times, such as Europe/Berlin",
    "project": "a project's name; empty: none",
    "priority": f"one of {', '.join(PRIORITY_WORDS)}",
    "notes": "a longer text",
    "rrule": "how it repeats, such as FREQ=WEEKLY;BYDAY=MO",
}


class Command(RowsCommand):
    help = "List, add, change, finish, put off and delete tasks of people, and their rules of reminding."
    failed = (TodoRefused, recurrence.RuleRefused)
    examples = (
        "todos list --overdue --assignee anna",
        "todos add 'Water the plants' --creator anna --due 2027-01-31T09:00 --remind=-PT1H",
        "todos change 7 --due 2027-02-01 --assign bob --tag home",
        "todos snooze 7 P1D --for anna",
        "todos done 7 8 9",
        "todos rules 7 add --offset=-P1D",
        "todos rules 7 add --at 2027-01-30T18:00 --zone Europe/Berlin",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list tasks, those due first at the top", _LIST),
                ("show", "show one", add_id),
                ("add", "add one", _add_new),
                ("change", "change what is named", _add_change),
                ("done", "close tasks as done; those that repeat make their successors", _add_ids),
                ("cancel", "give tasks up: closed, and not done", _add_ids),
                ("reopen", "open closed tasks again", _add_ids),
                ("snooze", "remind again later, and of nothing before", _add_snooze),
                ("delete", "delete tasks with all that belongs to them", _add_ids),
                ("rules", "list, add, enable and delete a task's rules", _add_rules),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.todo_serializers import TodoSerializer

        narrowed = chosen(options, "state", "project", "assignee", "watcher", "creator", "tag", "priority", "search")
        if options["overdue"]:
            narrowed["overdue"] = True
        for name in ("due_after", "due_before"):
            narrowed[name] = time_option(f"--{name.replace('_', '-')}", options[name])
        found = operators.todos(command_actor(), **narrowed).order_by("due_at", "id")
        self.print_rows(found, TodoSerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(options["id"], as_json)

    def do_add(self, as_json: bool, options: dict[str, Any]) -> None:
        given = {"title": options["title"], **_given(options)}
        given |= chosen(options, "creator")
        if options["remind"]:
            given["rules"] = [{"offset": offset} for offset in options["remind"]]
        self._show(operators.create_todo(command_actor(), given).pk, as_json)

    def do_change(self, as_json: bool, options: dict[str, Any]) -> None:
        given = {**_given(options), **chosen(options, "title"), **settings_of(options["set"] or [])}
        if not given:
            raise CommandError("nothing to change; see manage.py todos change --help", returncode=2)
        operators.change_todo(command_actor(), options["id"], given)
        self._show(options["id"], as_json)

    def do_done(self, as_json: bool, options: dict[str, Any]) -> None:
        self._close(operators.complete_todo, as_json, options["ids"])

    def do_cancel(self, as_json: bool, options: dict[str, Any]) -> None:
        self._close(operators.cancel_todo, as_json, options["ids"])

    def _close(self, deed: Any, as_json: bool, ids: list[int]) -> None:
        lines = []
        for todo_id in ids:
            completed = deed(command_actor(), todo_id)
            successor = completed.successor.pk if completed.successor is not None else None
            state = "cancelled" if completed.todo.cancelled else "done"
            lines.append({"id": todo_id, "state": state, "successor": successor, "skipped": completed.skipped})
        if as_json:
            self.print_json(lines)
            return
        for line in lines:
            follows = f"; task {line['successor']} follows it" if line["successor"] else ""
            missed = f"; {skipped_words(line['skipped'])}" if line["skipped"] else ""
            self.stdout.write(f"task {line['id']} is {line['state']}{follows}{missed}")

    def do_reopen(self, as_json: bool, options: dict[str, Any]) -> None:
        for todo_id in options["ids"]:
            operators.reopen_todo(command_actor(), todo_id)
        self._said(as_json, options["ids"], "open")

    def do_snooze(self, as_json: bool, options: dict[str, Any]) -> None:
        person = options["person"] or ""
        snoozed = operators.snooze_todo(command_actor(), options["id"], options["until"], person)
        if as_json:
            self.print_json({"todo": options["id"], "until": snoozed.until, "people": snoozed.people})
        else:
            self.stdout.write(
                plain(f"{', '.join(snoozed.people)}: reminded again at {snoozed.until:%Y-%m-%d %H:%M} UTC")
            )

    def do_delete(self, as_json: bool, options: dict[str, Any]) -> None:
        for todo_id in options["ids"]:
            operators.delete_todo(command_actor(), todo_id)
        self._said(as_json, options["ids"], "deleted")

    def do_rules(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.todo_serializers import RuleSerializer

        actor, todo_id, deed = command_actor(), options["id"], options["deed"]
        if deed == "add":
            given = chosen(options, "offset", "anchor", "at", "audience", "person")
            if options["zone"]:
                given["time_zone"] = options["zone"]
            rules.add_rule(actor, todo_id, given)
        elif deed != "list":
            if options["rule"] is None:
                raise CommandError(f"--rule is missing; todos rules {todo_id} list shows their ids", returncode=2)
            (rules.enable_rule if deed == "enable" else rules.delete_rule)(actor, options["rule"])
        self.print_rows(rules.rules_of_todo(actor, todo_id), RuleSerializer, RULES, as_json, 200)

    def _show(self, todo_id: int, as_json: bool) -> None:
        from reminders.api.todo_serializers import TodoSerializer

        self.print_row(TodoSerializer(operators.find_todo(command_actor(), todo_id)).data, as_json)

    def _said(self, as_json: bool, ids: list[int], state: str) -> None:
        if as_json:
            self.print_json([{"id": todo_id, "state": state} for todo_id in ids])
        else:
            for todo_id in ids:
                self.stdout.write(f"task {todo_id} is {state}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given as options; an empty one takes away."""
    found: dict[str, Any] = {}
    for name in _TEXTS:
        if options[name] is not None:
            found["time_zone" if name == "zone" else name] = options[name]
    for name, setting in (("assign", "assignees"), ("watch", "watchers"), ("tag", "tags")):
        if options[name] is not None:
            found[setting] = [value for value in options[name] if value]
    return found


def _add_settings(parser: ArgumentParser) -> None:
    for name, help_text in _TEXTS.items():
        parser.add_argument(f"--{name}", help=help_text)
    parser.add_argument("--assign", action="append", metavar="USER", help="who does it; may be repeated; '' for nobody")
    parser.add_argument("--watch", action="append", metavar="USER", help="who watches it; may be repeated")
    parser.add_argument("--tag", action="append", help="may be repeated; '' for none")


def _add_new(parser: ArgumentParser) -> None:
    parser.add_argument("title")
    parser.add_argument("--creator", metavar="USER", help="whose task it is; without it nobody's")
    parser.add_argument(
        "--remind",
        action="append",
        metavar="OFFSET",
        help="remind so long before or after it is due, such as --remind=-PT1H; may be repeated",
    )
    _add_settings(parser)


def _add_change(parser: ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="such as overdue_reminders=false")
    parser.add_argument("--title", help="its title")
    _add_settings(parser)


def _add_ids(parser: ArgumentParser) -> None:
    parser.add_argument("ids", type=int, nargs="+", metavar="id")


def _add_snooze(parser: ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("until", help="PT1H, P1D, a day, or a time such as 2027-01-31T09:00 of that person's clock")
    parser.add_argument("--for", dest="person", metavar="USER", help="whom; without it whoever is responsible")


def _add_rules(parser: ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("deed", nargs="?", default="list", choices=["list", "add", "enable", "delete"])
    parser.add_argument("--rule", type=int, help="which, to enable or delete one")
    parser.add_argument("--offset", help="such as --offset=-PT1H, --offset=-P1D or --offset=PT0S")
    parser.add_argument("--anchor", choices=["due", "start"], help="what it is counted from (default due)")
    parser.add_argument("--at", help="a day and a time in place of an offset, such as 2027-01-30T18:00")
    parser.add_argument("--zone", help="the zone of --at; the task's if left out")
    parser.add_argument("--audience", choices=["assignees", "watchers", "everyone"], help="whom (default assignees)")
    parser.add_argument("--person", metavar="USER", help="one account, in place of an audience")


_LIST = add_list(
    option("state", "open, done or cancelled", choices=operators.STATES),
    option("overdue", "those that are open and due before now", action="store_true"),
    option("due-after", "a time such as 2027-01-31T08:00Z"),
    option("due-before", "a time such as 2027-02-01T08:00Z"),
    option("project", "a project's name"),
    option("assignee", "an account's name"),
    option("watcher", "an account's name"),
    option("creator", "an account's name"),
    option("tag", "a tag"),
    option("priority", "how pressing", choices=PRIORITY_WORDS),
    option("search", "words of title and notes"),
)
