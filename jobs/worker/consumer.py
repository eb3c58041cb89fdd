"""The consumer: sends task events in groups, and gives back what it had fetched when the broker goes away."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer

from jobs.ledger import states
from jobs.ledger.broker import is_rabbitmq
from jobs.ledger.connection import LONGEST_PAUSE_SECONDS, finishes
from jobs.worker import forgotten
from jobs.worker.free_children import FreeChildrenOnly
from jobs.worker.transport import RUBBISH_ERRORS, log_rubbish

logger = logging.getLogger(__name__)

#: How long an event waits for others; an idle worker's event loop may make it a second. Monitors show the times that
#: the events themselves carry, so they lose nothing.
EVENT_LINGER_SECONDS = 0.1
#: A group goes out early when it has so many.
EVENTS_IN_A_GROUP = 200


class LedgerConsumer(Consumer):
    """Celery's consumer publishes, at each turn of its event loop, the events that it has gathered, which is half of
    the work of a busy worker's main process. This one lets events linger.
    """

    class Blueprint(Consumer.Blueprint):
        # RabbitMQ's 28 queues and exchanges for delays: here what is to run later waits in Postgres.
        default_steps = [step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._free_children_only: FreeChildrenOnly | None = None
        super().__init__(*args, **kwargs)
        self._events_due_at = 0.0
        if self.app.conf.worker_disable_prefetch and is_rabbitmq(self.app) and self.hub is not None:
            self.app.conf.worker_disable_prefetch = False  # Celery's own way, which it has for Redis alone
            self._free_children_only = FreeChildrenOnly(self)

    @property
    def max_prefetch_count(self) -> int:
        return 1 if self._free_children_only is not None else int(super().max_prefetch_count)

    def loop_args(self) -> Any:
        """Asked for before each start of the event loop."""
        if self._free_children_only is not None:
            self._free_children_only.begin()
        return super().loop_args()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's, except that a message which it cannot handle is rejected, and not the end of the worker.

        Nor does it go back to the broker, where it would end the next one. A job that it was about is owed one still.
        """
        handle = super().create_task_handler(*args, **kwargs)

        def on_message(message: Any) -> Any:
            try:
                return handle(message)
            except RUBBISH_ERRORS as exc:
                if isinstance(exc, OSError):
                    raise
                log_rubbish("a queue", repr(exc))
                if not message.acknowledged:
                    message.reject_log_error(logger, self.connection_errors)
                return None

        return on_message

    def ensure_connected(self, conn: Any) -> Any:
        """Try every two seconds for as long as the broker is away; Celery's own pauses grow to half a minute."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.5, interval_step=0.5, interval_max=LONGEST_PAUSE_SECONDS
        )
        return super().ensure_connected(conn)

    def on_send_event_buffered(self) -> None:
        """An event was gathered."""
        if self.hub is None:
            return
        if self.event_dispatcher is not None:
            self.event_dispatcher.buffer_limit = EVENTS_IN_A_GROUP
        now = time.monotonic()
        # A lost connection may have taken the timer with it: one that is late is not waited for.
        if not now < self._events_due_at + 2:
            self._events_due_at = now + EVENT_LINGER_SECONDS
            self.hub.call_later(EVENT_LINGER_SECONDS, self._send_gathered_events)

    def _send_gathered_events(self) -> None:
        self._events_due_at = 0.0
        self._flush_events()

    def on_close(self) -> None:
        """The connection is gone, and with it, in Celery, the messages that waited here for a free child.

        Their jobs are owed a message again; a second one does no harm.
        """
        waiting = [
            request.id
            for request in tuple(worker_state.reserved_requests)
            if request not in worker_state.active_requests
        ]
        forgotten.note(waiting)
        try:
            super().on_close()
        except StopIteration:
            # A child died at this very moment, and the pool has no queues left for its successor yet; it will have
            # at its next look. Passed on, this would end the worker.
            logger.warning("The pool could not be flushed while one of its children was being replaced")
        if waiting:
            try:
                finishes().use(lambda connection: _owe_again(connection, waiting))
            except psycopg.Error as exc:
                logger.warning("%d fetched jobs could not be given back: %s", len(waiting), str(exc).strip()[:200])

    def stop(self) -> None:
        self._flush_events()
        super().stop()


def _owe_again(connection: psycopg.Connection[tuple[Any, ...]], ids: list[str]) -> None:
    with connection.cursor() as cursor:
        states.owe_again(cursor, ids, "the worker that had fetched it lost its connection to the broker")
