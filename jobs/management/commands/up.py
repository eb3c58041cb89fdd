from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs.stack.errors import StackError


class Command(BaseCommand):
    help = (
        "Run everything on this machine: embedded Postgres and Valkey (unless DATABASE_URL and REDIS_URL point "
        "elsewhere), migrations, static files, the web server on 127.0.0.1, a worker for each lane, and the scheduler. "
        "Data is kept in the folder DATA. Ctrl-C stops all of it; running jobs end first."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", help="port of the web server on 127.0.0.1; default: PORT, else 8000")

    def handle(self, *args: Any, port: str | None, **options: Any) -> None:
        from jobs.stack.stack import Stack

        try:
            stack = Stack(_port(port))
        except StackError as exc:
            raise CommandError(str(exc), returncode=2) from None
        code = stack.supervise()
        if code:
            raise SystemExit(code)


def _port(given: str | None) -> int:
    from django.conf import settings

    text = given if given is not None else settings.PORT
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise CommandError(f"PORT={text!r} is not a port; choose a number from 1 to 65535", returncode=2)
    return int(text)
