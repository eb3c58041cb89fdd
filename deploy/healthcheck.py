#!/usr/bin/env python3
"""Tells a container engine whether the process beside it works. Exit code 0: healthy; 1: not, and why.

    healthcheck.py web            /readyz answers 200
    healthcheck.py flower         its health page answers 200
    healthcheck.py worker LANE    the heartbeat of this host's worker is fresh
    healthcheck.py beat           the heartbeat of this host's beat is fresh

Without Django, whose start costs a second of processor time. A busy worker's heartbeat goes on, whereas it may leave
Celery's own ping unanswered; beat answers no ping at all.
"""

import os
import socket
import sys
import urllib.error
import urllib.request

import psycopg

TIMEOUT_SECONDS = 5
STALE_SECONDS = 30


def check_page(url: str) -> str | None:
    """What is wrong with the page, or None."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310  (http to this host)
            return None
    except urllib.error.HTTPError as exc:
        return f"{url} answered {exc.code}: {exc.read(500).decode(errors='replace')}"
    except OSError as exc:
        return f"{url} does not answer: {exc}"


def check_heartbeat(prefix: str) -> str | None:
    """What is wrong with the newest heartbeat on this host among nodes whose name begins so, or None."""
    try:
        with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=TIMEOUT_SECONDS) as connection:
            row = connection.execute(
                """
                SELECT extract(epoch FROM clock_timestamp() - heartbeat_at)::int FROM jobs_worker
                WHERE host = %s AND starts_with(name, %s) AND stopped_at IS NULL
                ORDER BY heartbeat_at DESC LIMIT 1
                """,
                [socket.gethostname(), prefix],
            ).fetchone()
    except psycopg.Error as exc:
        return f"Postgres does not answer: {type(exc).__name__}"
    if row is None:
        return f"no {prefix}… has reported from this host"
    return f"the last heartbeat is {row[0]} s old" if row[0] > STALE_SECONDS else None


def check(arguments: list[str]) -> str | None:
    match arguments:
        case ["web"]:
            return check_page(f"http://{os.environ.get('WEB_BIND', '127.0.0.1:8000')}/readyz")
        case ["flower"]:
            return check_page(f"http://127.0.0.1:{os.environ.get('FLOWER_PORT', '5555')}/healthcheck")
        case ["worker", lane]:
            return check_heartbeat(f"{lane}@")
        case ["beat"]:
            return check_heartbeat("beat-")
    return __doc__


if __name__ == "__main__":
    problem = check(sys.argv[1:])
    if problem:
        sys.exit(problem)
