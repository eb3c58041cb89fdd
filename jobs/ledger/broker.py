"""What differs between brokers: how each is set up, asked and measured. All else treats them alike.

Redis and Valkey, alone or behind Sentinel, and RabbitMQ with quorum queues. Nothing here is trusted for what is
owed: that is in Postgres.
"""

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from celery import Celery
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from kombu.connection import Connection
from kombu.entity import Queue as KombuQueue
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.lanes import QUEUES

#: A broker that does not answer so soon counts as away.
ANSWER_SECONDS = 2.0
#: How long a message may take on its way: the thread that sends it is nobody's to wait for.
SEND_SECONDS = 5.0
HEARTBEAT_SECONDS = 10.0
DEFAULT_MASTER = "mymaster"
EPOCH_KEY = "switchyard:epoch"
#: RabbitMQ tells nobody the names or arguments of what it holds, but whether it holds a name.
EPOCH_EXCHANGE = "switchyard.epoch."
PROBE_KEY = "switchyard:probe"
#: Where Celery's command line copies BROKER_URL to, and looks before it reads the configuration.
CELERYS_COPY = "CELERY_BROKER_URL"


def is_rabbitmq(app: Celery | None = None) -> bool:
    """Whether the broker is RabbitMQ; else it is Redis or Valkey, perhaps behind Sentinel."""
    url = str(app.conf.broker_url or "") if app is not None else str(settings.CELERY_BROKER_URL)
    return url.startswith("amqp")


# --- Set-up --------------------------------------------------------------------------------------------------------


def configure(conf: Any) -> None:
    """Set Celery's configuration up for the broker that `conf.broker_url` names."""
    url = str(conf.broker_url or "")
    conf.task_queues = queues(url)
    conf.broker_transport_options = _transport_options(url)
    if url.startswith("sentinel"):
        plain = without_options(url)
        conf.broker_url = plain
        if os.environ.get(CELERYS_COPY) == url:
            os.environ[CELERYS_COPY] = plain
    if url.startswith("amqp"):
        conf.task_default_queue_type = "quorum"
        conf.broker_heartbeat = HEARTBEAT_SECONDS
        # Without it Celery would ask for a prefetch count of the whole channel, which quorum queues refuse.
        conf.worker_detect_quorum_queues = True
        conf.worker_prefetch_multiplier = 1


def queues(url: str) -> list[KombuQueue]:
    """Every queue, as this broker is to keep it. Reached through the default exchange, by name alone."""
    arguments = {"x-queue-type": "quorum"} if url.startswith("amqp") else None
    return [KombuQueue(name, routing_key=name, queue_arguments=arguments) for name in QUEUES]


def without_options(url: str) -> str:
    """A sentinel:// URL, or several with semicolons between, without the master's name, which Kombu refuses there."""
    return ";".join(urlunsplit(urlsplit(part)._replace(query=_other_options(part))) for part in url.split(";"))


def master_name(url: str) -> str:
    """The name that the Sentinels know the Redis by: `?master_name=` in the first URL, else `mymaster`."""
    return dict(parse_qsl(urlsplit(url.split(";", maxsplit=1)[0]).query)).get("master_name", DEFAULT_MASTER)


def _other_options(url: str) -> str:
    return urlencode([(key, value) for key, value in parse_qsl(urlsplit(url).query) if key != "master_name"])


def _transport_options(url: str) -> dict[str, Any]:
    if url.startswith("amqp"):
        # A publisher learns whether its message is safe on a majority of the nodes.
        return {"confirm_publish": True}
    options: dict[str, Any] = {
        # The ledger knows what is owed; Kombu's acknowledgement costs three round trips a job and runs jobs twice.
        "ack_emulation": False,
        "priority_steps": list(range(10)),
        "queue_order_strategy": "priority",
        "socket_connect_timeout": 3,
        "socket_timeout": 10,
        "socket_keepalive": True,
    }
    if url.startswith("sentinel"):
        # Without retries of its own: the next Sentinel is asked at once, and all of it is tried again anyway.
        sentinel = {"socket_timeout": 2, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}
        options |= {"master_name": master_name(url), "sentinel_kwargs": sentinel}
    return options


def broker_priority(priority: int) -> int:
    """The broker's number for a ledger priority.

    Kombu's Redis transport takes 0 first. RabbitMQ's quorum queues keep no order by priority, or only two levels,
    so there the dispatchers keep it.
    """
    if is_rabbitmq():
        return 0
    return 9 - priority


def publish_options() -> dict[str, Any]:
    """What a publish needs so as not to wait for ever, nor to be confirmed without a queue."""
    if not is_rabbitmq():
        return {}
    return {"timeout": SEND_SECONDS, "confirm_timeout": SEND_SECONDS, "mandatory": True}


@contextlib.contextmanager
def careful(producer: Any) -> Iterator[None]:
    """Around a publish: to RabbitMQ nothing waits for ever, and after an error the connection is not used again.

    It may still carry the answer to the message that failed, and believe that a queue is there which is gone.
    """
    if not is_rabbitmq():
        yield
        return
    connection = producer.connection
    try:
        limit_waiting(connection.connection, SEND_SECONDS)
        yield
    except Exception:
        connection.declared_entities.clear()
        connection.collect(1.0)
        raise


# --- Questions -----------------------------------------------------------------------------------------------------


def epoch(app: Celery, known: str = "") -> tuple[str, str]:
    """By what the broker is known: its epoch, which ends when its contents do, and its run id ("" on RabbitMQ).

    known: the epoch that was seen last. RabbitMQ can only be asked whether it still holds that one; if it does not,
    a new one begins. One round trip when nothing has changed.
    Raises kombu's OperationalError when the broker is away, hung or full.
    """
    with _asked(app) as asked:
        return asked.epoch_of_rabbitmq(known) if asked.is_rabbitmq else asked.epoch_of_redis()


def waiting(app: Celery, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """How many messages wait in the broker for each (queue, ledger priority), in one round trip on Redis.

    RabbitMQ counts a queue as a whole; one that is missing is made. Raises kombu's OperationalError when it is away.
    """
    with _asked(app) as asked:
        if asked.is_rabbitmq:
            counts = {queue: asked.declare(queue) for queue in {queue for queue, _ in places}}
            return {(queue, priority): counts[queue] for queue, priority in places}
        return asked.lengths(places)


def state(app: Celery) -> str:
    """ "ok", "full" (it answers, but takes no messages) or "away: …". Never raises; answers within seconds."""
    try:
        with _asked(app) as asked:
            return asked.state_of_rabbitmq() if asked.is_rabbitmq else asked.state_of_redis()
    except (OperationalError, ImproperlyConfigured) as exc:
        return f"away: {type(exc.__cause__ or exc).__name__}"


def redis_settings(app: Celery, names: Sequence[str]) -> dict[str, str | None]:
    """What these settings of Redis are; None for one that our account may not read. Empty on RabbitMQ.

    Raises kombu's OperationalError when it is away.
    """
    with _asked(app) as asked:
        return {} if asked.is_rabbitmq else {name: asked.setting_of_redis(name) for name in names}


class _Asked:
    """An open connection with short timeouts, for questions alone. Opened without Kombu's retries and their waits."""

    def __init__(self, app: Celery) -> None:
        self.is_rabbitmq = is_rabbitmq(app)
        self.app = app
        options = {} if self.is_rabbitmq else {"socket_connect_timeout": 1, "socket_timeout": ANSWER_SECONDS}
        self.connection = cast(
            Connection, app.connection_for_write(connect_timeout=ANSWER_SECONDS, transport_options=options)
        )
        self.errors = (*self.connection.connection_errors, *self.connection.channel_errors, OSError, EOFError)
        self._link: Any = None
        self._open_channel: Any = None

    def open(self) -> None:
        """Connect to the first of the URLs that answers."""
        tries = len(self.connection.alt) or 1
        while self._link is None:
            tries -= 1
            try:
                self._link = self.connection.transport.establish_connection()
            except self.errors:
                if tries <= 0:
                    raise
                self.connection.maybe_switch_next()
        if self.is_rabbitmq:
            limit_waiting(self._link, ANSWER_SECONDS)

    def close(self) -> None:
        link, self._link, self._open_channel = self._link, None, None
        with contextlib.suppress(Exception):  # what is broken already may break once more at its end
            if link is not None:
                link.collect() if self.is_rabbitmq else self.connection.transport.close_connection(link)

    @property
    def channel(self) -> Any:
        """The open channel; another one after a refusal, for which RabbitMQ closes it."""
        if self._open_channel is None or (self.is_rabbitmq and not self._open_channel.is_open):
            self._open_channel = self.connection.transport.create_channel(self._link)
        return self._open_channel

    @property
    def redis(self) -> Any:
        return self.channel.client

    def epoch_of_redis(self) -> tuple[str, str]:
        with self.redis.pipeline(transaction=False) as pipe:
            found, info = pipe.get(EPOCH_KEY).info("server").execute(raise_on_error=False)
            if isinstance(found, Exception):
                raise found
            if found is None:
                pipe.set(EPOCH_KEY, uuid.uuid4().hex, nx=True).get(EPOCH_KEY)
                found = pipe.execute()[-1]
        # An account may be refused INFO; the epoch then has to do.
        run_id = "" if isinstance(info, Exception) else str(info.get("run_id", ""))
        return (found.decode() if isinstance(found, bytes) else str(found)), run_id

    def epoch_of_rabbitmq(self, known: str) -> tuple[str, str]:
        if known:
            try:
                self.channel.exchange_declare(f"{EPOCH_EXCHANGE}{known}", type="fanout", passive=True)
                return known, ""
            except self.connection.channel_errors as exc:
                if getattr(exc, "code", None) != 404:
                    raise
        new = uuid.uuid4().hex
        self.channel.exchange_declare(f"{EPOCH_EXCHANGE}{new}", type="fanout", durable=True, auto_delete=False)
        return new, ""

    def lengths(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        with self.redis.pipeline(transaction=False) as pipe:
            for queue, priority in places:
                pipe.llen(redis_key(queue, priority))
            return dict(zip(places, pipe.execute(), strict=True))

    def declare(self, queue: str) -> int:
        """Make sure of a queue. Returns how many messages are ready in it."""
        arguments = self.app.amqp.queues[queue].queue_arguments
        found = self.channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
        return int(found.message_count)

    def state_of_redis(self) -> str:
        from redis.exceptions import OutOfMemoryError, ResponseError

        try:
            self.redis.set(PROBE_KEY, 1, px=1000)
        except OutOfMemoryError:
            return "full"
        except ResponseError as exc:
            return f"refuses writes: {str(exc).split()[0][:40]}"
        return "ok"

    def setting_of_redis(self, name: str) -> str | None:
        from redis.exceptions import ResponseError

        try:
            found = dict(self.redis.config_get(name))
        except ResponseError:
            return None
        value = found.get(name, found.get(name.encode()))
        return value.decode() if isinstance(value, bytes) else value

    def state_of_rabbitmq(self) -> str:
        """Out of memory or disk, RabbitMQ answers but reads no message: then this one is never confirmed."""
        import amqp

        self.declare("default")
        try:
            # To a queue that there is not: confirmed, and dropped.
            self.channel.basic_publish_confirm(
                amqp.Message("probe"), routing_key=PROBE_KEY, timeout=ANSWER_SECONDS, confirm_timeout=ANSWER_SECONDS
            )
        except TimeoutError:
            self.close()
            return "full"
        return "ok"


def limit_waiting(link: Any, seconds: float) -> None:
    """Have an open connection of py-amqp raise when it waits longer than that: by itself it waits for ever."""
    sock = getattr(getattr(link, "_transport", None), "sock", None)
    if sock is not None:
        sock.settimeout(seconds)


def redis_key(queue: str, priority: int) -> str:
    """The list that Kombu keeps a ledger priority of a queue in."""
    number = 9 - priority
    return f"{queue}\x06\x16{number}" if number else queue


_kept: dict[int, _Asked] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def _asked(app: Celery) -> Iterator[_Asked]:
    """This process' connection for questions, one question at a time; closed after an error."""
    with _lock:
        asked = _kept.get(os.getpid())
        try:
            if asked is None:
                _kept.clear()  # after a fork: the parent's
                asked = _kept[os.getpid()] = _Asked(app)
            asked.open()
            yield asked
        except Exception as exc:
            _kept.pop(os.getpid(), None)
            if asked is None:
                raise
            asked.close()
            if isinstance(exc, asked.errors):
                raise OperationalError(str(exc) or type(exc).__name__) from exc
            raise


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
