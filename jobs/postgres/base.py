"""Django's Postgres backend, with connections that can be limited in how long they wait for an answer."""

from typing import Any

from django.db.backends.postgresql import base

from jobs.postgres.limits import LimitedConnection


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        # Django names psycopg's own class in the middle of a longer method; ours only adds to it.
        connection.__class__ = LimitedConnection
        return connection
