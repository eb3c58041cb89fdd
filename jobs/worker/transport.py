"""Kombu's Redis transports, made to outlive what is no message: anybody who may write to Redis may put it there.

Kombu decodes an item on the worker's event loop, before any of Celery's guards: one that it cannot decode would end
the worker. Here such an item is dropped with a line in the log. It was popped and is noted nowhere yet, so nothing
gives it back to the broker.
"""

import logging
from collections.abc import Callable
from typing import Any

import psycopg
from kombu.transport import TRANSPORT_ALIASES, redis

logger = logging.getLogger(__name__)

#: What rubbish makes of a decoder or a handler. A connection's errors pass, but Kombu's list of these is not asked: it
#: holds KeyError, after which the worker connects anew and is given the same message again.
RUBBISH_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    psycopg.DataError,
)


def install() -> None:
    """Have URLs of redis://, rediss:// and sentinel:// use these transports in this process."""
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"


def log_rubbish(place: object, reason: object) -> None:
    """One line of at most 200 characters about something that is dropped."""
    logger.error("%.60s held what is no message; it is dropped: %.90s", place, reason)


def checked(message: Any, queue: str) -> dict[str, Any]:
    """A decoded item, if it has the shape of Kombu's messages; a lacking `delivery_info` is filled in.

    Raises TypeError naming what is wrong.
    """
    whole = _mapping(message, "a message")
    properties = _mapping(whole.get("properties"), "properties")
    _mapping({} if whole.get("headers") is None else whole["headers"], "headers")
    delivery = _mapping(properties.setdefault("delivery_info", {}), "delivery_info")
    delivery.setdefault("exchange", "")
    delivery.setdefault("routing_key", queue)
    texts = {
        "delivery_tag": properties.get("delivery_tag"),
        "exchange": delivery["exchange"],
        "routing_key": delivery["routing_key"],
        "body": whole.get("body"),
    }
    optional = {
        "content-type": whole.get("content-type"),
        "content-encoding": whole.get("content-encoding"),
        "body_encoding": properties.get("body_encoding"),
    }
    for name, value in (texts | {name: value for name, value in optional.items() if value is not None}).items():
        if not isinstance(value, str):
            raise TypeError(f"{name} is not a string but {type(value).__name__}")
    return whole


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is not an object but {type(value).__name__}")
    return value


class _ChannelGuard(redis.Channel):
    """Reads go on behind an item that is not JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        return self._guarded(super()._brpop_read, **options)

    def _receive(self) -> Any:
        return self._guarded(super()._receive)

    def _guarded(self, read: Callable[..., Any], **options: Any) -> Any:
        try:
            return read(**options)
        except RUBBISH_ERRORS as exc:
            if isinstance(exc, OSError):
                raise
            log_rubbish("a queue", repr(exc))
            return True


class _TransportGuard(redis.Transport):
    """Hands on what has the shape of a message."""

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            super()._deliver(checked(message, queue), queue)
        except RUBBISH_ERRORS as exc:
            if isinstance(exc, OSError):
                raise
            log_rubbish(f"the queue {queue}", repr(exc))


class Channel(_ChannelGuard):
    """Of one Redis or Valkey."""


class SentinelChannel(_ChannelGuard, redis.SentinelChannel):
    """Of one behind Sentinel."""


class Transport(_TransportGuard):
    """To one Redis or Valkey."""

    Channel = Channel


class SentinelTransport(_TransportGuard, redis.SentinelTransport):
    """To one behind Sentinel."""

    Channel = SentinelChannel
