"""One thread a web process that keeps its snapshots up: at once when it is told, and each second besides."""

import json
import logging
import os
import threading
import time
from typing import Any

import psycopg
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from embeddings.serving import reader
from jobs.postgres.limits import answers_within

logger = logging.getLogger(__name__)

#: Sent with an activation; see `pointer.tell`. The payload is {"collection": id}.
POINTERS = "embeddings"
#: Sent by a trigger with rows of `Change`. The payload is the collection's id.
CHANGES = "embeddings_changes"
ROUND_SECONDS = 1.0
#: What comes in so short a time is looked at together: a run commits many batches a second.
GATHER_SECONDS = 0.1
RECONNECT_SECONDS = 1.0
#: An outage is told of once in so long.
TOLD_SECONDS = 60.0

_thread: threading.Thread | None = None
_lock = threading.Lock()


def start() -> None:
    """Have this process' thread run, unless it does or SEARCH_LISTENER is off; it ends when nothing is searched."""
    global _thread
    if not settings.EMBEDDINGS["LISTENER"] or is_running():
        return
    with _lock:
        if not is_running():
            _thread = threading.Thread(target=_run, name="embeddings-listener", daemon=True)
            _thread.start()


def is_running() -> bool:
    return _thread is not None and _thread.is_alive()


def _run() -> None:
    told_at = float("-inf")
    while True:
        try:
            if _follow():
                return
        except (DatabaseError, InterfaceError, psycopg.Error) as exc:
            if time.monotonic() - told_at > TOLD_SECONDS:
                why = f"{type(exc).__name__}: {' '.join(str(exc).split())[:200]}"
                logger.warning("Search indexes are not followed until Postgres answers: %s", why)
                told_at = time.monotonic()
        except Exception:
            logger.exception("Search indexes could not be followed; it is tried again")
        finally:
            _close()
        time.sleep(RECONNECT_SECONDS)


def _close() -> None:
    try:
        connection.close()
    except (DatabaseError, psycopg.Error):
        connection.connection = None


def _follow() -> bool:
    """Follow until nothing is searched any more, and return True then. Raises DatabaseError."""
    global _thread
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {POINTERS}; LISTEN {CHANGES}")
    started = since = time.monotonic()
    _look(reader.followed())
    while True:
        _look(_news(since + ROUND_SECONDS))
        if time.monotonic() - since >= ROUND_SECONDS:
            since = time.monotonic()
            reader.drop_idle()
            _look(reader.followed())
        with _lock:
            # A search that begins now finds no thread, and starts another.
            if not reader.followed() and time.monotonic() - started > ROUND_SECONDS:
                _thread = None
                return True


def _look(collection_ids: list[int]) -> None:
    with answers_within(settings.DATABASE_ANSWER_SECONDS):
        reader.refresh(collection_ids)


def _news(until: float) -> list[int]:
    """Wait for notifications, and return the collections that they are of; at once if an index is to be swapped."""
    notices = _notices(max(0.0, until - time.monotonic()), 1)
    if notices and all(notice.channel == CHANGES for notice in notices):
        time.sleep(GATHER_SECONDS)
        notices += _notices(0, None)
    return sorted(set().union(*map(_collections, notices)))


def _notices(seconds: float, most: int | None) -> list[Any]:
    raw: Any = connection.connection
    if raw is None:
        raise InterfaceError("the connection is closed")
    return list(raw.notifies(timeout=seconds, stop_after=most))


def _collections(notice: Any) -> set[int]:
    try:
        payload = json.loads(notice.payload)
        return {int(payload["collection"] if isinstance(payload, dict) else payload)}
    except (ValueError, KeyError, TypeError):
        return set()  # anybody may notify


def _after_fork() -> None:
    global _thread, _lock
    _thread, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
