"""Which states there are moves between."""

from typing import Any, Protocol

from jobs.models import State


class Cursor(Protocol):
    """What psycopg's cursors and Django's have in common."""

    @property
    def description(self) -> Any: ...

    def execute(self, query: Any, params: Any = None) -> Any: ...
    def fetchall(self) -> list[Any]: ...


#: Which states each event leads from and to; the statements of this package follow it, and a test holds them to it.
TRANSITIONS: dict[str, tuple[frozenset[State], State]] = {
    "due": (frozenset({State.SCHEDULED}), State.QUEUED),
    "debounced": (frozenset({State.SCHEDULED, State.QUEUED}), State.SCHEDULED),
    "claimed": (frozenset({State.QUEUED}), State.RUNNING),
    "succeeded": (frozenset({State.RUNNING}), State.SUCCEEDED),
    "failed": (frozenset({State.RUNNING, State.QUEUED}), State.FAILED),
    "rescheduled": (frozenset({State.RUNNING}), State.SCHEDULED),
    "replaced": (frozenset({State.RUNNING}), State.SCHEDULED),
    "requeued": (frozenset({State.RUNNING}), State.QUEUED),
    "stopped": (frozenset({State.RUNNING}), State.CANCELLED),
    "given up": (frozenset({State.RUNNING}), State.DISCARDED),
    "parked": (frozenset({State.QUEUED}), State.SCHEDULED),
    "cancelled": (frozenset({State.SCHEDULED, State.QUEUED}), State.CANCELLED),
    "discarded": (frozenset({State.SCHEDULED, State.QUEUED, State.FAILED, State.CANCELLED}), State.DISCARDED),
    "retried": (frozenset({State.FAILED, State.CANCELLED}), State.QUEUED),
}


def rows(cursor: Cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
