"""Takes in messages of foreign Celery clients: they get a row before they run."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import psycopg
from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default, hybrid_to_proto2, proto1_to_proto2

from jobs.lanes import DEFAULT_QUEUE, QUEUES
from jobs.ledger import states, uniqueness
from jobs.ledger.connection import finishes
from jobs.ledger.errors import JobRefused
from jobs.ledger.pauses import turn_away
from jobs.ledger.records import LEDGER_HEADER, Message, Record, checked_id, record_of
from jobs.ledger.states.keys import count_folded
from jobs.worker.transport import RUBBISH_ERRORS

logger = logging.getLogger(__name__)


def ledger_strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Any:
    """Celery's own strategy, behind an adoption of messages that carry no ledger header."""
    handle = default(task, app, consumer, **options)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        try:
            check_fields({**(body if isinstance(body, dict) else {}), **(message.headers or {})})
            if LEDGER_HEADER not in (message.headers or {}) and not adopt(task.name, message, body):
                return ack(logger, consumer.connection_errors)
            if message.headers:
                job_id = checked_id(message.headers["id"])
                if turn_away(job_id, (message.delivery_info or {}).get("routing_key", ""), task.name):
                    return ack(logger, consumer.connection_errors)
            return handle(message, body, ack, reject, callbacks, **more)
        except RUBBISH_ERRORS as exc:
            if isinstance(exc, OSError):
                raise
            # Anything else than Celery's own error would end the worker, and a broker may hold anything.
            raise InvalidTaskError(f"not a task message: {exc!r}") from exc

    return on_message


def check_fields(fields: Mapping[str, Any]) -> None:
    """Check what is used only after the message was handed on, where an error would take the worker or a child's slot.

    Raises TypeError naming the field.
    """
    if not isinstance(fields.get("id"), str):
        raise TypeError(f"its id is not a string but {type(fields.get('id')).__name__}")
    retries = fields.get("retries")
    if retries is not None and (not isinstance(retries, int) or retries < 0):
        raise TypeError("its retries are not a whole number")
    limits = fields.get("timelimit")
    if limits is not None and not (
        isinstance(limits, list | tuple) and len(limits) == 2 and all(_is_limit(limit) for limit in limits)
    ):
        raise TypeError("its timelimit is not two numbers of seconds or nulls")


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def adopt(task_name: str, message: Any, body: Any) -> bool:
    """Write a foreign message down. Returns whether to run it now; one with an ETA waits in Postgres instead."""
    try:
        headers, payload = _protocol_2(message, body)
        queue = (message.delivery_info or {}).get("routing_key")
        entering = Message(
            task=task_name,
            headers=headers,
            body=payload,
            queue=queue if queue in QUEUES else DEFAULT_QUEUE,
        )
        record = record_of(entering, origin="foreign", origin_detail=str(headers.get("origin") or ""))
    except (JobRefused, AttributeError, KeyError, TypeError, ValueError) as exc:
        logger.error("A foreign message for %s is dropped: %s", task_name, exc)
        return False
    # A row of that id that is already there is the same message once more: the claim decides.
    return finishes().insist(lambda connection: _insert(connection, record)) != "scheduled"


def _insert(connection: psycopg.Connection[tuple[Any, ...]], record: Record) -> str | None:
    with connection.transaction(), connection.cursor() as cursor:
        state = states.insert(cursor, [record]).get(record.id)
        if state is None and record.unique_key is not None:
            settled = uniqueness.settle(cursor, record)
            state = settled.state
            if settled.holder is not None:
                count_folded(cursor, settled.holder, f"{record.origin} {record.origin_detail}".strip())
        if state == "queued":
            states.mark_sent(cursor, [(record.id, 0)])
    return state


def _protocol_2(message: Any, body: Any) -> tuple[dict[str, Any], Any]:
    if body is None and "args" not in message.payload:
        headers, payload = dict(message.headers), message.payload
    else:
        convert = hybrid_to_proto2 if "args" in message.payload else proto1_to_proto2
        payload, headers, _, _ = convert(message, message.payload if convert is hybrid_to_proto2 else body)
    args, kwargs, embed = payload
    if not (isinstance(args, list | tuple) and isinstance(kwargs, dict) and isinstance(embed, dict)):
        # Taken in, it would be sent for ever, and never be run.
        raise TypeError("its body is not [list, object, object]")
    return headers, payload
