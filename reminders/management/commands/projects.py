"""`manage.py projects`: projects that tasks belong to."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs, plain
from jobs.management.rows import RowsCommand, add_list, option
from jobs.operators.actors import command_actor
from reminders.operators import projects as operators

COLUMNS = {"id": "ID", "name": "NAME", "members": "MEMBERS", "open_todos": "OPEN TASKS", "archived_at": "ARCHIVED"}


class Command(RowsCommand):
    help = "List, make, change and delete projects; their members see all of their tasks."
    examples = (
        "projects list --member anna",
        "projects add House --member anna --member bob",
        "projects set House --member anna --name 'The house'",
        "projects archive House",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list projects by name", _LIST),
                ("show", "show one", _add_name),
                ("add", "make one", _add_new),
                ("set", "change its name or its members", _add_change),
                ("archive", "put one away; its tasks stay", _add_name),
                ("restore", "take an archived one out again", _add_name),
                ("delete", "delete one; its tasks stay, without a project", _add_name),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.todo_serializers import ProjectSerializer

        found = operators.projects(
            command_actor(),
            search=options["search"] or "",
            member=options["member"] or "",
            archived=True if options["archived"] else None,
        )
        self.print_rows(found.order_by("name"), ProjectSerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(operators.project_named(command_actor(), options["project"]), as_json)

    def do_add(self, as_json: bool, options: dict[str, Any]) -> None:
        given: dict[str, Any] = {"name": options["project"], "members": options["member"] or []}
        self._show(operators.create_project(command_actor(), given), as_json)

    def do_set(self, as_json: bool, options: dict[str, Any]) -> None:
        given: dict[str, Any] = {}
        if options["member"] is not None:
            given["members"] = [name for name in options["member"] if name]
        if options["name"] is not None:
            given["name"] = options["name"]
        self._change(options, given, as_json)

    def do_archive(self, as_json: bool, options: dict[str, Any]) -> None:
        self._change(options, {"archived": True}, as_json)

    def do_restore(self, as_json: bool, options: dict[str, Any]) -> None:
        self._change(options, {"archived": False}, as_json)

    def do_delete(self, as_json: bool, options: dict[str, Any]) -> None:
        row = operators.project_named(command_actor(), options["project"])
        operators.delete_project(command_actor(), row.pk)
        if as_json:
            self.print_json({"deleted": row.name})
        else:
            self.stdout.write(plain(f"{row.name} is deleted"))

    def _change(self, options: dict[str, Any], given: dict[str, Any], as_json: bool) -> None:
        actor = command_actor()
        row = operators.project_named(actor, options["project"])
        self._show(operators.change_project(actor, row.pk, given), as_json)

    def _show(self, row: Any, as_json: bool) -> None:
        from reminders.api.todo_serializers import ProjectSerializer

        self.print_row(ProjectSerializer(row).data, as_json)


_LIST = add_list(
    option("search", "a part of the name"),
    option("member", "an account's name"),
    option("archived", "those that are archived", action="store_true"),
)


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("project", metavar="NAME")


def _add_new(parser: ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument("--member", action="append", metavar="USER", help="may be repeated")


def _add_change(parser: ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument("--name", help="another name")
    parser.add_argument("--member", action="append", metavar="USER", help="all members, one each; '' for none")
