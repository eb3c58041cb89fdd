"""Queries that a provider embeds: a search does not wait long for one, and leaves one that fails alone for a while."""

import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from embeddings.encoders.base import EncoderUnavailable, ProviderBusy
from embeddings.encoders.openai_compatible import longest_wait
from embeddings.vectors import Vector

#: To embed a query, with all that belongs to it.
QUERY_SECONDS = 3.0
#: After a failure; longer where the provider asks for it.
REST_SECONDS = 30.0


@dataclass(frozen=True)
class _Failure:
    reason: str
    until: float


_failures: dict[str, _Failure] = {}
_lock = threading.Lock()


def ask(name: str, encode: Callable[[], Vector]) -> Vector:
    """Have a provider embed a query, unless it failed lately. name: what failures are remembered under.

    Raises ProviderBusy, with the time until it is asked again, for every way in which it does not serve; TextRefused.
    """
    _check_may_be_asked(name)
    try:
        vector = _within(QUERY_SECONDS, encode)
    except TimeoutError:
        raise _failed(name, f"the provider did not answer within {QUERY_SECONDS:g} s", REST_SECONDS) from None
    except ProviderBusy as exc:
        raise _failed(name, str(exc), max(exc.seconds, REST_SECONDS)) from None
    except EncoderUnavailable as exc:
        raise _failed(name, str(exc), REST_SECONDS) from None
    with _lock:
        _failures.pop(name, None)
    return vector


def _check_may_be_asked(name: str) -> None:
    with _lock:
        failure, now = _failures.get(name), time.monotonic()
        if failure is None:
            return
        if now < failure.until:
            raise _busy(failure.reason, failure.until - now)
        # This search tries it; the others wait for what comes of that.
        _failures[name] = _Failure(failure.reason, now + QUERY_SECONDS)


def _failed(name: str, reason: str, seconds: float) -> ProviderBusy:
    with _lock:
        _failures[name] = _Failure(reason, time.monotonic() + seconds)
    return _busy(reason, seconds)


def _busy(reason: str, seconds: float) -> ProviderBusy:
    return ProviderBusy(seconds, f"{reason}; it is asked again in {math.ceil(seconds)} s")


def _within(seconds: float, encode: Callable[[], Vector]) -> Vector:
    """Raises TimeoutError. A client's own limits are for each part of an answer, and begin anew with each request."""
    # The library takes long to load, once, and that is no fault of the provider's.
    import openai  # noqa: F401

    future: Future[Vector] = Future()

    def run() -> None:
        # One that is given up ends soon, too, and with it what it holds; later, so that one limit alone tells why.
        longest_wait.set(2 * seconds)
        try:
            future.set_result(encode())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=run, name="embeddings-provider", daemon=True).start()
    return future.result(timeout=seconds)


def forget() -> None:
    """Start anew, as a process does that has been forked."""
    global _lock
    _lock = threading.Lock()
    _failures.clear()


os.register_at_fork(after_in_child=forget)
