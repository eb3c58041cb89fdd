"""`manage.py create_token`: let a program in."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.utils import timezone

from jobs.management.output import OperatorCommand
from jobs.operators.actors import command_actor
from jobs.operators.search import is_storable
from jobs.operators.tokens import create_token

MAX_DAYS = 3660


class Command(OperatorCommand):
    help = "Make a token for the API, which acts as a user, and print it. It is shown only this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="the name of an active user, whose permissions the token has")
        parser.add_argument("--name", required=True, help="what the token is for")
        parser.add_argument("--days", type=int, help=f"how long it is good, 1 to {MAX_DAYS} (default: until revoked)")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    def handle(self, *, user: str, name: str, days: int | None, as_json: bool, **options: Any) -> None:
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--days is {days}; it takes 1 to {MAX_DAYS}", returncode=2)
        users = get_user_model()
        owner = users.objects.filter(**{users.USERNAME_FIELD: user}).first() if is_storable(user) else None
        if owner is None:
            raise CommandError(f"no user {user!r}; make one with: manage.py createsuperuser", returncode=2)
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        token, text = create_token(command_actor(), owner, name, expires_at)
        if as_json:
            self.print_json({"token": text, "id": token.pk, "user": user, "name": token.name, "expires_at": expires_at})
        else:
            self.stdout.write(text)
        self.say("Keep it: it is not shown again. Send it as: Authorization: Bearer TOKEN")
