"""`manage.py github`: how we are known at GitHub: Apps and tokens, and where Apps are installed."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs, plain
from jobs.management.rows import add_list, option, settings_of
from jobs.management.secrets import add_secrets, with_secrets
from jobs.operators.actors import command_actor
from reviews.management.rows import RowsCommand
from reviews.models import GitHubAccess
from reviews.operators import accesses as operators

COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "kind": "KIND",
    "account_login": "ACCOUNT",
    "api_url": "ADDRESS",
    "enabled": "ENABLED",
    "used_by": "REPOSITORIES",
    "checked_at": "CHECKED",
    "error": "ERROR",
}
INSTALLATIONS = {
    "id": "ID",
    "access": "APP",
    "account_login": "ACCOUNT",
    "used_by": "REPOSITORIES",
    "suspended_at": "SUSPENDED",
    "removed_at": "REMOVED",
}


class Command(RowsCommand):
    help = "List, enter, change, check and remove accesses to GitHub. Secrets come from files or stdin."
    examples = (
        "github add 'Our App' client_id=Iv1.8a61f9b3 --private-key-file app.pem --webhook-secret-file hook.txt",
        "github add bot kind=token --token-file -   # reads it from stdin",
        "github set bot enabled=false",
        "github check            # the token of the environment",
        "github check 'Our App'",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list accesses by name", add_list()),
                ("show", "show one; of secrets, whether they are entered", _add_name),
                ("add", "enter an App, or a personal token by kind=token", _add_settings),
                ("set", "change one", _add_settings),
                ("check", "ask GitHub whether one works, and what it lacks", _add_checked),
                ("remove", "remove one that no repository uses", _add_name),
                ("installations", "list where Apps are installed", _INSTALLATIONS),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.settings_serializers import AccessSerializer

        self.print_rows(operators.accesses().order_by("name"), AccessSerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(operators.access_named(options["name"]), as_json)

    def do_add(self, as_json: bool, options: dict[str, Any]) -> None:
        settings = {**settings_of(options["given"]), "name": options["name"]}
        given = with_secrets(settings, options, operators.SECRETS)
        self._show(operators.create_access(command_actor(), given), as_json)

    def do_set(self, as_json: bool, options: dict[str, Any]) -> None:
        row = operators.access_named(options["name"])
        given = with_secrets(settings_of(options["given"]), options, operators.SECRETS)
        self._show(operators.change_access(command_actor(), row.pk, given), as_json)

    def do_check(self, as_json: bool, options: dict[str, Any]) -> None:
        access_id = operators.access_named(options["name"]).pk if options["name"] else None
        checked = operators.check_access(command_actor(), access_id)
        if as_json:
            self.print_json(vars(checked))
        else:
            self.stdout.write(plain(f"{checked.login or 'nobody'}: {'well' if checked.is_well else 'not well'}"))
            for problem in checked.problems:
                self.stdout.write(plain(f"  {problem}"))
        if not checked.is_well:
            raise SystemExit(1)

    def do_remove(self, as_json: bool, options: dict[str, Any]) -> None:
        row = operators.access_named(options["name"])
        operators.delete_access(command_actor(), row.pk)
        if as_json:
            self.print_json({"removed": row.name})
        else:
            self.stdout.write(plain(f"{row.name} is removed"))

    def do_installations(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.settings_serializers import InstallationSerializer

        found = operators.installations(access=options["access"] or "").order_by("-id")
        self.print_rows(found, InstallationSerializer, INSTALLATIONS, as_json, options["limit"])

    def _show(self, row: GitHubAccess, as_json: bool) -> None:
        from reviews.api.settings_serializers import AccessSerializer

        self.print_row(AccessSerializer(row).data, as_json)


_INSTALLATIONS = add_list(option("access", "the name of an App's access"))


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name")


def _add_settings(parser: ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("given", nargs="*", metavar="NAME=VALUE", help="such as client_id=Iv1.8a61f9b3")
    add_secrets(parser, operators.SECRETS)


def _add_checked(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="without it: the token of the environment")
