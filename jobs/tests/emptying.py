"""Empties the test database after a test that commits, in place of Django's flush.

The flush truncates every table, which waits for all readers and writers of all tables, without a limit, and then
makes content types and permissions anew. Here only what holds rows is emptied, and only what differs from what the
flush leaves behind is put back, so that the next test finds the same. A session that is in the way, such as a live
worker in the middle of a job, is given way to: we are the one that lets go and tries again.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, transaction
from django.test import TransactionTestCase

#: In all, for one emptying; then the test is told who was in the way.
TOTAL_SECONDS = 120.0
#: For one lock; shorter than Postgres' own deadlock_timeout, so that it is never the other one that fails.
LOCK_MILLISECONDS = 700
#: Where we may set it: soon told of a deadlock, and then autovacuum lets go of a table that we want.
DEADLOCK_MILLISECONDS = 100
PAUSE_SECONDS = 0.05
#: With more than this in the tables that hold rows, deleting them one by one would take longer than truncating all.
TRUNCATE_BYTES = 8 * 2**20

_IN_THE_WAY = frozenset({"40P01", "55P03"})  # deadlock detected, lock not available


#: The rows of each table that holds some, in the form in which Postgres writes them.
Baseline = dict[str, list[str]]

#: What Django's flush leaves behind, by database.
_baselines: dict[str, Baseline] = {}


def install() -> None:
    """Have transactional tests empty their database in this way."""
    TransactionTestCase._fixture_teardown = _fixture_teardown  # type: ignore[attr-defined]


_django_fixture_teardown: Callable[[Any], None] = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


def _fixture_teardown(self: Any) -> None:
    if self.available_apps is not None or self.serialized_rollback:
        _django_fixture_teardown(self)
        return
    for alias in self._databases_names(include_mirrors=False):
        empty(alias)


def empty(alias: str = "default", total_seconds: float = TOTAL_SECONDS) -> None:
    """Leave the database as Django's flush would. Raises AssertionError, naming the sessions in the way."""
    connection = connections[alias]
    deadline = time.monotonic() + total_seconds
    while True:
        try:
            with transaction.atomic(using=alias), connection.cursor() as cursor:
                _empty(connection, cursor)
            break
        except (CommandError, DatabaseError) as exc:
            if _sqlstate(exc) not in _IN_THE_WAY:
                raise
            if time.monotonic() > deadline:
                raise AssertionError(_who_is_in_the_way(connection, total_seconds)) from exc
        time.sleep(PAUSE_SECONDS)
    ContentType.objects.clear_cache()


def _empty(connection: Any, cursor: Any) -> None:
    cursor.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
    may_set_all = _is_superuser(cursor)
    if may_set_all:
        cursor.execute(f"SET LOCAL deadlock_timeout = {DEADLOCK_MILLISECONDS}")
    name = connection.settings_dict["NAME"]
    if name in _baselines and may_set_all:
        _return_to(_baselines[name], connection, cursor)
        return
    call_command("flush", verbosity=0, interactive=False, database=connection.alias, reset_sequences=False)
    _baselines[name] = {table: _rows(cursor, table) for table in _with_rows(cursor, [*_sizes(connection, cursor)])}


def _return_to(baseline: Baseline, connection: Any, cursor: Any) -> None:
    tables = [_quoted(table) for table in _tables(connection)]
    # Who writes is waited for, and nobody begins to until we are done; who only reads is not in the way.
    cursor.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
    cursor.execute("SET LOCAL session_replication_role = replica")  # no foreign keys, no triggers: all goes anyway
    sizes = _sizes(connection, cursor)
    if sum(sizes.values()) > TRUNCATE_BYTES:
        cursor.execute(f"TRUNCATE {', '.join(tables)}")
    else:
        full = [table for table in _with_rows(cursor, [*sizes]) if table not in baseline]
        if full:
            cursor.execute("; ".join(f"DELETE FROM {_quoted(table)}" for table in full))
    for table, rows in baseline.items():
        if _rows(cursor, table) != rows:
            _restore(cursor, table, rows)


def _is_superuser(cursor: Any) -> bool:
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    return bool(cursor.fetchone()[0])


def _tables(connection: Any) -> list[str]:
    """Those that Django's flush empties."""
    return sorted(connection.introspection.django_table_names(only_existing=True, include_views=False))


def _sizes(connection: Any, cursor: Any) -> dict[str, int]:
    """The bytes of each table that has any."""
    cursor.execute(
        "SELECT name, pg_table_size(quote_ident(name)::regclass) FROM unnest(%s::text[]) AS name "
        "WHERE pg_relation_size(quote_ident(name)::regclass) > 0",
        [_tables(connection)],
    )
    return dict(cursor.fetchall())


def _with_rows(cursor: Any, tables: list[str]) -> list[str]:
    if not tables:
        return []
    selects = [f"SELECT '{table}' WHERE EXISTS (SELECT FROM {_quoted(table)})" for table in tables]
    cursor.execute(" UNION ALL ".join(selects))
    return [table for (table,) in cursor.fetchall()]


def _rows(cursor: Any, table: str) -> list[str]:
    cursor.execute(f"SELECT line::text FROM {_quoted(table)} AS line ORDER BY line::text")
    return [line for (line,) in cursor.fetchall()]


def _restore(cursor: Any, table: str, rows: list[str]) -> None:
    name = _quoted(table)
    cursor.execute(f"DELETE FROM {name}")
    cursor.execute(f"INSERT INTO {name} SELECT (line::{name}).* FROM unnest(%s::text[]) AS line", [rows])


def _quoted(table: str) -> str:
    return f'"{table}"'


def _sqlstate(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, psycopg.Error):
            return error.sqlstate
        error = error.__cause__
    return None


def _who_is_in_the_way(connection: Any, seconds: float) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT activity.pid, activity.state, now() - activity.xact_start, left(activity.query, 300),
                   string_agg(DISTINCT lock.relation::regclass || ' ' || lock.mode, ', ')
            FROM pg_stat_activity AS activity JOIN pg_locks AS lock USING (pid)
            WHERE activity.datname = current_database() AND pid <> pg_backend_pid() AND lock.granted
                AND lock.locktype = 'relation' AND lock.mode <> 'AccessShareLock'
            GROUP BY 1, 2, 3, 4
            """
        )
        found = cursor.fetchall()
    lines = [
        f"  session {pid}, {state}, its transaction open for {since}, holds {locks}; last said: {query}"
        for pid, state, since, query, locks in found
    ]
    threads = ", ".join(sorted(thread.name for thread in threading.enumerate()))
    return "\n".join(
        [
            f"the test database could not be emptied within {seconds:g} s: other sessions held locks on its tables.",
            *(lines or ["  (none holds any by now)"]),
            f"threads of this process: {threads}",
        ]
    )
