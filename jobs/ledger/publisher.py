"""Hands messages to the broker behind the sender's back: a send never waits for Redis.

One daemon thread a process, started with the first send. What it cannot deliver (the broker is away, the queue of
waiting ids is full, the process dies) stays in Postgres without `sent_at`, and a worker's dispatcher sends it.
"""

import atexit
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from celery import current_app
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

from jobs.ledger import states
from jobs.ledger.admission import admit
from jobs.ledger.broker import broker_priority, careful, is_rabbitmq, publish_options
from jobs.ledger.limits import blocked, hold
from jobs.ledger.records import MESSAGE_COLUMNS, message_of
from jobs.ledger.window import SHORTEST_PAUSE_SECONDS, Windows

logger = logging.getLogger(__name__)

MAX_WAITING = 20_000
GROUP = 200
EXIT_SECONDS = 2.0
#: As long as dispatchers leave a new row to its sender, and a little longer.
IN_TURN_SECONDS = 1.5

#: Stands among the waiting ids for: see what the limits let through.
ADMIT = ""

_FETCH = f"""
    SELECT {MESSAGE_COLUMNS}, {blocked("jobs_job")} AS is_blocked FROM jobs_job
    WHERE id = ANY(%s) AND state || '' = 'queued' AND sent_at IS NULL AND NOT held
"""  # noqa: S608  (constants only)


def publish_soon(ids: Sequence[str]) -> None:
    """Have committed, queued jobs sent by this process' thread. Never blocks, never raises."""
    thread = _thread()
    for job_id in ids:
        try:
            thread.waiting.put_nowait(job_id)
        except queue.Full:
            return


def admit_soon() -> None:
    """Have this process' thread let through what the limits leave room for, and send it. Never blocks, never raises."""
    publish_soon([ADMIT])


def publish(producer: Any, row: dict[str, Any]) -> None:
    """Send one row's message. Raises kombu's OperationalError when the broker is away."""
    headers, properties, body = message_of(row)
    with careful(producer):
        current_app.amqp.send_to_broker(
            producer,
            row["task"],
            _task_message(headers, properties, body),
            queue=row["queue"],
            priority=broker_priority(row["priority"]),
            retry=False,
            **publish_options(),
        )


def _task_message(headers: dict[str, Any], properties: dict[str, Any], body: tuple[Any, Any, Any]) -> Any:
    from celery.app.amqp import task_message

    sent_event = None
    if current_app.conf.task_send_sent_event:
        sent_event = {
            "uuid": headers["id"],
            "name": headers["task"],
            "args": headers["argsrepr"],
            "kwargs": headers["kwargsrepr"],
            **{key: headers[key] for key in ("root_id", "parent_id", "retries", "eta", "expires")},
        }
    return task_message(headers, properties, body, sent_event)


class Publisher(threading.Thread):
    """Sends the ids it is given, in groups."""

    def __init__(self) -> None:
        super().__init__(name="ledger-publisher", daemon=True)
        self.waiting: queue.Queue[str] = queue.Queue(MAX_WAITING)
        self.pid = os.getpid()
        self.windows = Windows()

    def run(self) -> None:
        while True:
            group = [self.waiting.get()]
            while len(group) < GROUP:
                try:
                    group.append(self.waiting.get_nowait())
                except queue.Empty:
                    break
            try:
                self._send_connected(group)
            except Exception as exc:
                # Dispatchers send what is left; here, only avoid hammering what is away.
                logger.warning("%d messages are left to the dispatchers: %s", len(group), str(exc).strip()[:200])
                connection.close()
                time.sleep(0.5)
            finally:
                for _ in group:
                    self.waiting.task_done()

    def _send_connected(self, group: list[str]) -> None:
        """Send; with a new connection if this one was ended since it was used last, as by a restart of Postgres."""
        try:
            self._send(group)
        except (InterfaceError, OperationalError):
            connection.close()
            self._send(group)  # what had gone out and could not be marked goes twice, and is claimed once

    def _send(self, group: list[str]) -> None:
        if is_rabbitmq():
            self._send_in_turn(admits=ADMIT in group)
            return
        rows = _fetch(group)
        held_back = [row["id"] for row in rows if row["is_blocked"]]
        rows = [row for row in rows if not row["is_blocked"]]
        if held_back or ADMIT in group:
            rows += self._admitted(held_back)
        sent: list[tuple[str, int]] = []
        try:
            with current_app.producer_pool.acquire(block=True) as producer:
                for row in rows:
                    publish(producer, row)
                    sent.append((row["id"], row["attempt"]))
        finally:
            if sent:
                with connection.cursor() as cursor:
                    states.mark_sent(cursor, sent)

    def _send_in_turn(self, *, admits: bool) -> None:
        """Send what is next in each lane, ours or not, while there is room; what waits for long is the dispatchers'."""
        deadline = time.monotonic() + IN_TURN_SECONDS
        while True:
            if admits:
                self._admitted([])
            with transaction.atomic(), connection.cursor() as cursor:
                rows = _decoded(self.windows.take(cursor))
                held_back = [row["id"] for row in rows if row["is_blocked"]]
                admits = bool(held_back)
                if held_back:
                    hold(cursor, held_back)
                free = [row for row in rows if not row["is_blocked"]]
                if free:
                    with current_app.producer_pool.acquire(block=True) as producer:
                        for row in free:
                            publish(producer, row)
                    states.mark_sent(cursor, [(row["id"], row["attempt"]) for row in free])
            is_more = admits or self.windows.was_busy or self.windows.pause is not None
            if not is_more or time.monotonic() > deadline:
                return
            time.sleep(self.windows.pause or SHORTEST_PAUSE_SECONDS)

    def _admitted(self, held_back: list[str]) -> list[dict[str, Any]]:
        """Hold these, and return the rows of what the limits let through now, these or others.

        What cannot be done now, because somebody else has been at it for long, is left to the dispatchers.
        """
        try:
            with connection.cursor() as cursor:
                if held_back:
                    hold(cursor, held_back)
                with transaction.atomic():
                    admitted = admit(cursor)
        except DatabaseError as exc:
            if isinstance(exc, OperationalError) and not isinstance(exc.__cause__, psycopg.errors.LockNotAvailable):
                raise  # the connection was ended
            logger.warning("What the limits let through is left to the dispatchers: %s", str(exc).strip()[:200])
            connection.close()
            return []
        if admitted.more:
            publish_soon([ADMIT])
        return [row for row in _fetch(admitted.ids) if not row["is_blocked"]]

    def drain(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.waiting.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)


def _fetch(ids: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of those whose message is owed; Django's cursors leave jsonb as text."""
    if not any(ids):
        return []
    with connection.cursor() as cursor:
        cursor.execute(_FETCH, [list(ids)])
        return _decoded(states.rows(cursor))


def _decoded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        for column in ("args", "kwargs", "embed", "headers"):
            if isinstance(row[column], str):
                row[column] = json.loads(row[column])
    return rows


_publisher: Publisher | None = None
_start = threading.Lock()


def _thread() -> Publisher:
    global _publisher
    publisher = _publisher
    if publisher is None or publisher.pid != os.getpid() or not publisher.is_alive():
        with _start:
            if _publisher is None or _publisher.pid != os.getpid() or not _publisher.is_alive():
                _publisher = Publisher()
                _publisher.start()
            publisher = _publisher
    return publisher


def drain(seconds: float = EXIT_SECONDS) -> None:
    """Give this process' thread a moment to send what waits; the rest is the dispatchers'."""
    if _publisher is not None and _publisher.pid == os.getpid():
        _publisher.drain(seconds)


def _after_fork() -> None:
    global _start
    _start = threading.Lock()


atexit.register(drain)
os.register_at_fork(after_in_child=_after_fork)
