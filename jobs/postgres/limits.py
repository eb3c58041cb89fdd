"""How long a web request waits for Postgres.

A server that is down refuses at once. One that hangs, or a network that swallows its answer, says nothing at all, and
no time limit of the server's own helps: so the client has one, and gives the connection up.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from psycopg import errors

_seconds: ContextVar[float | None] = ContextVar("answer_seconds", default=None)
#: A request that is stopped in the middle of a transaction shall not keep its locks.
IDLE_IN_TRANSACTION_SECONDS = 30


@contextlib.contextmanager
def answers_within(seconds: float) -> Iterator[None]:
    """Give each statement of this thread so long, and then raise OperationalError and close the connection."""
    token = _seconds.set(seconds)
    try:
        yield
    finally:
        _seconds.reset(token)


class LimitedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose every wait for the server ends in time, inside of `answers_within`."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        limit = _seconds.get()
        if limit is None or timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout:
            self.close()  # the answer may still come, to a question that is not asked any more
            raise psycopg.OperationalError(f"Postgres gave no answer within {limit:g} s") from None


class DatabaseLimits:
    """Middleware: the limits for all of a request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with answers_within(settings.DATABASE_ANSWER_SECONDS):
            return self.get_response(request)


@receiver(connection_created)
def _limit_session(connection: Any, **_: Any) -> None:
    """Have the server give up a little earlier than we do, so that it does not go on with what nobody waits for."""
    limit = _seconds.get()
    if limit is None or connection.vendor != "postgresql":
        return
    values = {
        "statement_timeout": limit * 0.9,
        "lock_timeout": limit * 0.5,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_SECONDS,
    }
    with connection.cursor() as cursor:
        names = ", ".join(f"set_config('{name}', %s, false)" for name in values)
        cursor.execute(f"SELECT {names}", [f"{int(value * 1000)}ms" for value in values.values()])
