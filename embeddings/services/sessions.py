"""Connections to Postgres beside Django's own, for snapshots and session locks."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from django.db import connections
from psycopg import IsolationLevel

#: Django's own, which a plain connection of psycopg's does not know.
_OF_DJANGO = frozenset({"cursor_factory", "context", "prepare_threshold"})

Session = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def session() -> Iterator[Session]:
    """A connection of its own, in autocommit, to the database that Django uses; closed at the end."""
    parameters = connections["default"].get_connection_params()
    with closing(
        psycopg.connect(**{key: value for key, value in parameters.items() if key not in _OF_DJANGO}, autocommit=True)
    ) as connection:
        yield connection


@contextmanager
def one_moment(connection: Session) -> Iterator[Session]:
    """A transaction in which every statement sees the database as of the first one."""
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction():
        yield connection
