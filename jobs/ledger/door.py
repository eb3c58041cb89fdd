"""The one door in: every message that Celery sends becomes a row in the sender's own transaction.

All of Celery's ways of sending (delay, apply_async, canvas, retry, beat, send_task) end in `send_task_message`, so
that is where a job is written down. Nothing is published here: a background thread does that after the commit.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from celery.app.amqp import AMQP
from django.db import connection, transaction
from kombu.entity import Exchange
from kombu.entity import Queue as KombuQueue

from jobs.lanes import DEFAULT_QUEUE, QUEUES
from jobs.ledger import states, uniqueness
from jobs.ledger.errors import JobRefused
from jobs.ledger.publisher import publish_soon
from jobs.ledger.records import Message, Record, record_of
from jobs.ledger.run import current_run
from jobs.ledger.states import keys


class _Sending(threading.local):
    origin: tuple[str, str] | None = None
    folded: dict[str, str]
    collected: list[Record] | None = None

    def __init__(self) -> None:
        self.folded = {}


_sending = _Sending()


@contextlib.contextmanager
def sent_by(origin: str, detail: str = "") -> Iterator[None]:
    """Mark what this thread sends inside the block as coming from `origin` (a user, a schedule, a host)."""
    before = _sending.origin
    _sending.origin = (origin, detail)
    try:
        yield
    finally:
        _sending.origin = before


@contextlib.contextmanager
def collecting() -> Iterator[list[Record]]:
    """Keep what this thread sends inside the block, without inserting it: the caller does, by `enter_now`."""
    before, _sending.collected = _sending.collected, []
    try:
        yield _sending.collected
    finally:
        _sending.collected = before


def holder_of(job_id: str) -> str:
    """The id of the job that the one just sent from this thread was folded into, or its own."""
    return _sending.folded.pop(job_id, job_id)


class LedgerAMQP(AMQP):
    """Celery's message layer, with the ledger in front of the broker."""

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        """Keep a countdown as a delay, to be counted from Postgres' clock instead of the sender's."""
        try:
            message = super().as_task_v2(task_id, name, args, kwargs, None, *rest, **more)
        except OverflowError as exc:
            raise JobRefused(f"a time of {name} is out of range: {exc}") from exc
        if countdown:
            message.headers["delay_seconds"] = countdown
        return message

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.task_protocols = {2: self.as_task_v2}

    @property
    def send_task_message(self) -> Any:
        return self._enter

    def send_to_broker(self, producer: Any, name: str, message: Any, **options: Any) -> Any:
        """Publish as stock Celery does."""
        sender = self.__dict__.get("_stock_sender") or self._create_task_sender()
        self.__dict__["_stock_sender"] = sender
        return sender(producer, name, message, **options)

    def _enter(
        self,
        producer: Any,
        name: str,
        message: Any,
        *,
        exchange: Any = None,
        routing_key: str | None = None,
        queue: Any = None,
        serializer: str | None = None,
        priority: int | None = None,
        headers: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Write one message down as a job. Raises JobRefused, with what to change, for what cannot be kept."""
        if serializer not in (None, "json"):
            raise JobRefused(f"serializer {serializer!r} is refused: jobs are JSON only")
        if priority is not None and not isinstance(priority, int):
            raise JobRefused(f"priority {priority!r} of {name} is not a number from 0 to 9")
        message_headers = {**message.headers, **(headers or {})}
        entering = Message(
            task=name,
            headers=message_headers,
            body=message.body,
            queue=_queue_name(queue, exchange, routing_key),
            priority=priority,
        )
        origin, detail = _origin(message_headers)
        enter(record_of(entering, origin=origin, origin_detail=detail))


def enter(record: Record) -> None:
    """Take in one record: now, or, when the running job's body has ended, together with its finish."""
    run = current_run()
    if _sending.collected is not None:
        _sending.collected.append(record)
    elif run is not None and record.id == run.job_id:
        run.own = record
    elif run is not None and run.body_done:
        # The next step of a chain, a chord's body, a callback: folded, it would keep its workflow waiting.
        record.drop_key()
        run.held.append(record)
    else:
        enter_now([record])


def enter_now(records: Sequence[Record]) -> None:
    """Insert records in the caller's transaction; their messages follow its commit."""
    if not records:
        return
    if len(records) > 1:
        # In one order, so that two senders of several keys do not each wait for the other.
        records = sorted(records, key=lambda record: record.unique_key or "")
    superseded_keys = uniqueness.superseded_keys(records)
    with transaction.atomic() if superseded_keys else contextlib.nullcontext(), connection.cursor() as cursor:
        if superseded_keys:
            keys.queue_up(cursor, superseded_keys)
        inserted = states.insert(cursor, records)
        owed = [job_id for record in records for job_id in _settle(cursor, record, inserted)]
    now = [record.id for record in records if inserted.get(record.id) == "queued"] + owed
    if now:
        transaction.on_commit(lambda: publish_soon(now), robust=True)


def _settle(cursor: states.Cursor, record: Record, inserted: dict[str, str]) -> list[str]:
    """Deal with a conflict, and with older jobs that a newer one supersedes. Returns ids whose message is owed now."""
    run = current_run()
    sender = run.job_id if run is not None else ""
    if record.id in inserted:
        if record.unique_options is not None and record.unique_options.supersede:
            uniqueness.supersede(cursor, record, sender)
        return []
    settled = uniqueness.settle(cursor, record, sender)
    if settled.state is not None:
        inserted[record.id] = settled.state
    if settled.holder is None:
        return []
    holder, by = settled.holder, f"{record.origin} {record.origin_detail}".strip()
    _sending.folded[record.id] = holder
    transaction.on_commit(lambda: _count_folded(holder, by), robust=True)
    return [holder] if settled.is_owed else []


def _count_folded(holder: str, by: str) -> None:
    """After the commit and by itself, so that senders of one key do not wait for each other's transactions."""
    with connection.cursor() as cursor:
        keys.count_folded(cursor, holder, by)


def _origin(headers: dict[str, Any]) -> tuple[str, str]:
    if _sending.origin is not None:
        return _sending.origin
    if headers.get("periodic_task_name"):
        return "schedule", str(headers["periodic_task_name"])
    return ("workflow", "") if headers.get("parent_id") else ("code", "")


def _queue_name(queue: Any, exchange: Any, routing_key: str | None) -> str:
    """The queue to send to. Raises JobRefused for an unknown one and for an exchange of one's own.

    Kombu's Redis transport drops messages without a word when a named exchange's bindings are gone, so messages are
    routed by queue name alone.
    """
    name = queue.name if isinstance(queue, KombuQueue) else queue
    exchange_name = exchange.name if isinstance(exchange, Exchange) else exchange
    if name is None and exchange_name in (None, "") and routing_key:
        name = routing_key
    if exchange_name and exchange_name != name:
        raise JobRefused(f"exchange {exchange_name!r} is refused: jobs are routed by queue name; pass queue=…")
    name = name or DEFAULT_QUEUE
    if name not in QUEUES:
        raise JobRefused(f"unknown queue {name!r}; choose from: {', '.join(QUEUES)}")
    return str(name)
