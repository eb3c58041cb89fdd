"""Two at once, each stopped where the test wants it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

#: A guard against waiting for ever, not a measure.
SECONDS = 120


class Racer:
    """Runs an action in a thread with a connection of its own. `end` waits for it, and raises what it raised."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action
        self._error: BaseException | None = None
        self.result: Any = None
        self.is_at_commit, self.may_commit = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._action()
        except BaseException as exc:
            self._error = exc
        finally:
            self.is_at_commit.set()
            connection.close()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> Any:
        self.may_commit.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "it waits for ever"
        if self._error is not None:
            raise self._error
        return self.result


@contextmanager
def uncommitted(action: Callable[[], Any]) -> Iterator[Racer]:
    """Everything that the action writes is written, and not committed before the block ends."""

    def held() -> Any:
        with transaction.atomic():
            result = action()
            racer.is_at_commit.set()
            assert racer.may_commit.wait(SECONDS)
        return result

    ready = threading.Event()
    racer = Racer(lambda: (ready.wait(SECONDS), held())[1])
    ready.set()
    assert racer.is_at_commit.wait(SECONDS), "it waits for somebody"
    try:
        yield racer
    finally:
        racer.end()


def begun(action: Callable[[], Any]) -> Racer:
    """Started, and either through by now or waiting for a lock."""
    racer = Racer(action)
    racer.is_at_commit.wait(0.15)
    return racer
