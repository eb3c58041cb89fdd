"""How often something may be done: requests, refused tokens, wrong passwords. All web processes count together.

They count in the Redis or Valkey that is the broker (the cache `rates`). While it is away, hung or full, and with any
other broker, each process counts for itself: a limit never makes a request fail, nor wait.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.throttling import AnonRateThrottle, SimpleRateThrottle, UserRateThrottle

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView  # it loads this module for its throttles

logger = logging.getLogger(__name__)

CACHE = "rates"
#: A Redis that does not answer so soon counts as away, and is not asked again for so long.
ANSWER_SECONDS = 0.15
PAUSE_SECONDS = 5.0
#: Into so many parts time is cut: after a refusal one waits at most that much too long.
PARTS = 20
#: Keys that a process keeps by itself.
MOST_NEAR = 10_000

T = TypeVar("T")


# --- Where it is counted ----------------------------------------------------------------------------------------------


class JSONSerializer:
    """Instead of Django's own, which would load what is pickled in Redis."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj).encode()

    def loads(self, data: Any) -> Any:
        """None for what was not written here."""
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return None


class _Client(RedisCacheClient):
    def count(self, key: str, by: int, seconds: int) -> int:
        """In one round trip; Django's `incr` takes two, between which a key may expire and then stay for ever."""
        with self.get_client(key, write=True).pipeline() as pipe:
            pipe.set(key, 0, ex=seconds, nx=True)
            pipe.incr(key, by)
            return int(pipe.execute()[-1])


class _Redis(RedisCache):
    """Django's, in the database of the broker: so it is never emptied as a whole."""

    _cache: _Client

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__([server], params)  # a list, as a URL's password may have a comma
        self._class = _Client

    def count(self, key: str, by: int, seconds: int) -> int:
        return self._cache.count(self.make_and_validate_key(key), by, seconds)

    def clear(self) -> None:
        client = self._cache.get_client(write=True)
        for key in client.scan_iter(match=self.make_key("*"), count=1000):
            client.delete(key)


class _Near(LocMemCache):
    def count(self, key: str, by: int, seconds: int) -> int:
        self.add(key, 0, seconds)
        try:
            return int(self.incr(key, by))
        except ValueError:  # it went between the two, to make room
            self.set(key, by, seconds)
            return by


class _Server:
    """A Redis as this process knows it: all its threads leave it alone when one of them found it away."""

    def __init__(self, url: str, params: dict[str, Any]) -> None:
        options = {
            "serializer": JSONSerializer,
            "socket_connect_timeout": ANSWER_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self.cache = _Redis(url, {**params, "OPTIONS": options})
        self.is_away = False
        self.not_before = 0.0

    def ask(self, question: Callable[[Any], T], instead: Callable[[], T]) -> T:
        now = time.monotonic()
        if now < self.not_before:
            return instead()
        if self.is_away:
            self.not_before = now + PAUSE_SECONDS  # this request alone finds out whether it is back
        try:
            if self.is_away:
                self.cache.set("probe", 1, 1)  # one that is full can be read, and has still to be left alone
            answer = question(self.cache)
        except Exception as exc:  # whatever a client stumbles over is no reason to refuse a request
            self.not_before = time.monotonic() + PAUSE_SECONDS
            if not self.is_away:
                self.is_away = True
                logger.warning("Rate limits: each process counts for itself, as Redis is away (%s)", type(exc).__name__)
            return instead()
        if self.is_away:
            self.is_away, self.not_before = False, 0.0
            logger.info("Rate limits: Redis is back; all processes count together")
        return answer


def redis_url(broker: str) -> str:
    """The broker's URL as redis-py takes it; "" for RabbitMQ and Sentinel. Of several, the first."""
    parts = urlsplit(broker.split(";", maxsplit=1)[0])
    given = dict(parse_qsl(parts.query))
    if parts.scheme == "redis+socket":
        return f"unix://{parts.netloc}{parts.path}?{urlencode({'db': given.get('virtual_host', '0')})}"
    if parts.scheme not in {"redis", "rediss"}:
        return ""
    options = {name: value for name, value in given.items() if name.startswith("ssl_")}
    if "ssl_cert_reqs" in options:  # Kombu takes the ssl module's names, too
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].removeprefix("CERT_").lower()
    return urlunsplit(parts._replace(query=urlencode(options)))


@lru_cache
def _server(url: str, key_prefix: str) -> _Server:
    """One for all threads, of which Django gives each its own cache."""
    return _Server(url, {"KEY_PREFIX": key_prefix})


class RateCache(BaseCache):
    """The cache `rates`. LOCATION: the broker's URL. No method of it raises or waits long, whatever Redis does."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        url = redis_url(location)
        self.server = _server(url, self.key_prefix) if url else None
        self.near = _Near(CACHE, {**params, "OPTIONS": {"MAX_ENTRIES": MOST_NEAR}})

    def _ask(self, question: Callable[[Any], T]) -> T:
        if self.server is None:
            return question(self.near)
        return self.server.ask(question, instead=lambda: question(self.near))

    def count(self, key: str, by: int, seconds: int) -> int:
        """Add to a number that begins with 0 and is gone after that time. Returns the sum."""
        return self._ask(lambda cache: cache.count(key, by, seconds))

    def add(self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._ask(lambda cache: cache.add(key, value, timeout, version))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._ask(lambda cache: cache.get(key, default, version))

    def set(self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._ask(lambda cache: cache.set(key, value, timeout, version))

    def touch(self, key: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._ask(lambda cache: cache.touch(key, timeout, version))

    def delete(self, key: Any, version: int | None = None) -> bool:
        return self._ask(lambda cache: cache.delete(key, version))

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        wanted = list(keys)
        return self._ask(lambda cache: cache.get_many(wanted, version))

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        wanted = list(keys)
        self._ask(lambda cache: cache.delete_many(wanted, version))

    def clear(self) -> None:
        """Forget all counts, here and in Redis; nothing else that is there."""
        self.near.clear()
        self._ask(lambda cache: cache.clear())


# --- What is counted --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """No more than `most` of these within any `seconds`, for each of those that are counted.

    Time is cut into parts, whose numbers are added up: those of the last `seconds`, and of the part that has begun.
    """

    name: str
    most: int
    seconds: float

    def take(self, who: str) -> float:
        """Count one. Returns 0; or the seconds until there is room, and then it is not counted."""
        keys, now = self._keys(who)
        counts = self._counts(keys)
        wait = self._wait(counts, now)
        if wait:
            return wait
        counts[0] = self._cache().count(keys[0], 1, self._kept_seconds)
        if sum(counts) <= self.most:
            return 0.0
        # Another process was first.
        self._cache().count(keys[0], -1, self._kept_seconds)
        return self._wait(counts, now)

    def count(self, who: str) -> None:
        """Count one, whether or not there is room."""
        self._cache().count(self._keys(who)[0][0], 1, self._kept_seconds)

    def wait(self, who: str) -> float:
        """Seconds until there is room for one more; 0 when there is."""
        keys, now = self._keys(who)
        return self._wait(self._counts(keys), now)

    def forget(self, who: str) -> None:
        self._cache().delete_many(self._keys(who)[0])

    @property
    def _part_seconds(self) -> float:
        return self.seconds / PARTS

    @property
    def _kept_seconds(self) -> int:
        return math.ceil(self.seconds + 2 * self._part_seconds)

    def _cache(self) -> RateCache:
        found = caches[CACHE]
        assert isinstance(found, RateCache)
        return found

    def _keys(self, who: str) -> tuple[list[str], float]:
        """Those of the parts, newest first, and the time now. What is counted may be secret, or long."""
        now = time.time()
        part = int(now // self._part_seconds)
        digest = hashlib.sha256(f"{self.name}\0{who}".encode("utf-8", "replace")).hexdigest()[:32]
        return [f"{digest}:{part - age}" for age in range(PARTS + 1)], now

    def _counts(self, keys: list[str]) -> list[int]:
        found = self._cache().get_many(keys)
        return [count if type(count) is int else 0 for count in map(found.get, keys)]

    def _wait(self, counts: list[int], now: float) -> float:
        left = sum(counts)
        if left < self.most:
            return 0.0
        age = PARTS
        while age > 0:
            left -= counts[age]
            if left < self.most:
                break
            age -= 1
        begun = now // self._part_seconds
        return (begun - age + PARTS + 1) * self._part_seconds - now


# --- Of requests ------------------------------------------------------------------------------------------------------


class CountedTogether(SimpleRateThrottle):
    """DRF's throttles, counted as above: theirs write the times of all requests anew for each, and lose some."""

    left = 0.0

    def allow_request(self, request: "Request", view: "APIView") -> bool:
        key = None if self.rate is None else self.get_cache_key(request, view)
        if key is None:
            return True
        most, seconds = self.parse_rate(self.rate)
        assert most is not None
        assert seconds is not None
        self.left = Rate(str(self.scope), most, seconds).take(key)
        return not self.left

    def wait(self) -> float | None:
        return self.left or None


class AnonymousThrottle(CountedTogether, AnonRateThrottle):
    """By address, for whoever has no account."""


class UserThrottle(CountedTogether, UserRateThrottle):
    """By account."""
