"""`/healthz` (this process answers) and `/readyz` (able to serve, with each part's state), for probes and balancers."""

import logging
from collections.abc import Callable

import psycopg
from celery import current_app
from django.db import DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

from jobs.ledger import broker

logger = logging.getLogger(__name__)

#: A part that does not answer so soon counts as away.
TIMEOUT_SECONDS = 2

OK = "ok"


class HealthMiddleware:
    """Answers before anything else, the check of the host name included: a probe knows an address, not a name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info in {"/healthz", "/readyz"}:
            return _answer(request)
        return self.get_response(request)


def _answer(request: HttpRequest) -> HttpResponse:
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    if request.path_info == "/healthz":
        response = JsonResponse({"status": "alive"})
    else:
        parts = states()
        ready = all(state == OK for state in parts.values())
        response = JsonResponse(
            {"status": "ready" if ready else "not ready", "parts": parts}, status=200 if ready else 503
        )
    response["Cache-Control"] = "no-store"
    return response


def states() -> dict[str, str]:
    """Each part's state: "ok", or in words what it lacks."""
    database = database_state()
    migrations = migrations_state() if database == OK else "unknown: the database is away"
    return {"database": database, "broker": broker_state(), "migrations": migrations}


def database_state() -> str:
    """By a connection of its own, which waits for nothing that this process does."""
    try:
        parameters = {
            key: value
            for key, value in connections["default"].get_connection_params().items()
            if key not in {"cursor_factory", "context", "prepare_threshold"}
        }
        parameters |= {"connect_timeout": TIMEOUT_SECONDS}
        with psycopg.connect(**parameters, autocommit=True) as probe:
            probe.execute(f"SET statement_timeout = {TIMEOUT_SECONDS * 1000}")
            probe.execute("SELECT 1")
    except psycopg.Error as exc:
        return _away("database", exc)
    return OK


def broker_state() -> str:
    """By a connection for questions alone, which gives up within seconds; "full" when it takes no messages."""
    found = broker.state(current_app._get_current_object())
    if found != OK:
        logger.warning("The broker is %s", found)
    return found


_migrated = False


def migrations_state() -> str:
    """Tables only move forward while a process lives, so "ok" is remembered."""
    global _migrated
    if not _migrated:
        try:
            executor = MigrationExecutor(connection)
            waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError as exc:
            return _away("database", exc)
        finally:
            connection.close()
        if waiting:
            return f"{len(waiting)} to apply: run manage.py migrate"
        _migrated = True
    return OK


def _away(part: str, exc: Exception) -> str:
    """The reason goes to the log: it may name hosts, and anybody may ask."""
    logger.warning("The %s does not answer: %s: %s", part, type(exc).__name__, str(exc).strip()[:200])
    return f"away: {type(exc).__name__}"
