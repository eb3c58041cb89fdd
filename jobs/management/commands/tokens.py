"""`manage.py tokens`: which programs are let in. `manage.py create_token` makes one."""

from argparse import ArgumentParser
from typing import Any

from jobs.api.serializers import TokenSerializer
from jobs.management.output import OperatorCommand, add_verbs
from jobs.operators import tokens
from jobs.operators.actors import command_actor

COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "prefix": "PREFIX",
    "user": "USER",
    "created_at": "CREATED",
    "last_used_at": "USED",
    "expires_at": "EXPIRES",
    "revoked_at": "REVOKED",
}


class Command(OperatorCommand):
    help = "List and revoke tokens for the API; create_token makes one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list the tokens, the newest first", None),
                ("revoke", "refuse a token from now on", _add_token),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        if verb == "list":
            rows = TokenSerializer(tokens.find_tokens(command_actor()), many=True).data
            if as_json:
                self.print_json(rows)
            else:
                self.print_table(COLUMNS, rows)
            return
        token = tokens.revoke_token(command_actor(), options["token"])
        if as_json:
            self.print_json(TokenSerializer(token).data)
        self.say(f"{token.name} is revoked")


def _add_token(parser: ArgumentParser) -> None:
    parser.add_argument("token", metavar="ID", type=int)
