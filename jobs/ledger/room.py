"""What the limits leave free, in memory, while one admission goes on."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

UNLIMITED = 1_000_000


@dataclass(frozen=True)
class Held:
    """A held row. key: its limit key, empty for none."""

    key: str
    id: str
    task: str
    priority: int
    run_at: datetime


@dataclass
class _Count:
    """One limit, and what is in use of it."""

    row: dict[str, Any]
    in_use: int = 0
    in_period: int = 0

    def __post_init__(self) -> None:
        self.of_key: dict[str, int] = {}

    @property
    def counts(self) -> bool:
        return any(self.row[name] is not None for name in ("concurrency", "key_concurrency", "rate"))

    @property
    def room(self) -> int:
        free = UNLIMITED
        if self.row["concurrency"] is not None:
            free = min(free, self.row["concurrency"] - self.in_use)
        if self.row["rate"] is not None:
            free = min(free, self.row["rate"] - self.in_period)
        return max(free, 0)

    def is_full_for(self, key: str) -> bool:
        most = self.row["key_concurrency"]
        return most is not None and key != "" and self.of_key.get(key, 0) >= most

    def take(self, key: str) -> None:
        self.in_use += 1
        self.in_period += 1
        self.of_key[key] = self.of_key.get(key, 0) + 1


class Limits:
    """All limits, with what is taken of each."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._by_id = {row["id"]: _Count(row) for row in rows}
        self._by_scope = {(c.row["scope"], c.row["name"]): c for c in self._by_id.values()}
        self._changed: dict[int, str] = {}

    def count(self, slots: Iterable[dict[str, Any]]) -> None:
        """slots: limit_id, key, in_use and in_period, one row a limit and key."""
        for slot in slots:
            found = self._by_id.get(slot["limit_id"])
            if found is not None:
                found.in_use += slot["in_use"]
                found.in_period += slot["in_period"]
                found.of_key[slot["key"]] = slot["in_use"]

    def _of(self, queue: str, task: str) -> list[_Count]:
        scopes = (("queue", queue), ("task", task), ("everything", ""))
        return [self._by_scope[scope] for scope in scopes if scope in self._by_scope]

    def _counting(self, queue: str, task: str) -> list[_Count]:
        return [limit for limit in self._of(queue, task) if limit.counts]

    def are_paused(self, queue: str, task: str) -> bool:
        return any(limit.row["is_paused"] for limit in self._of(queue, task))

    def counting(self, queue: str, task: str) -> list[int]:
        """The ids of the limits that count the jobs of this task in this queue."""
        return [limit.row["id"] for limit in self._counting(queue, task)]

    def room(self, queue: str, task: str) -> int:
        return min((limit.room for limit in self._counting(queue, task)), default=UNLIMITED)

    def full_keys(self, queue: str, task: str) -> list[str]:
        """Keys of which no further job may run."""
        return sorted({key for limit in self._counting(queue, task) for key in limit.of_key if limit.is_full_for(key)})

    def take(self, queue: str, row: Held) -> bool:
        """Let one row through; False, changing nothing, if there is no room for it."""
        under = self._counting(queue, row.task)
        if any(limit.room < 1 or limit.is_full_for(row.key) for limit in under):
            return False
        for limit in under:
            limit.take(row.key)
        return True

    def full_rates(self) -> list[int]:
        """Limits whose period is used up."""
        return [c.row["id"] for c in self._by_id.values() if c.row["rate"] is not None and c.in_period >= c.row["rate"]]

    def _turn(self, queue: str, tasks: Sequence[str]) -> _Count | None:
        """The limit that remembers whose turn it is: the queue's, else its task's, else everything's."""
        return next(iter(self._counting(queue, tasks[0])), None)

    def last_key(self, queue: str, tasks: Sequence[str]) -> str | None:
        limit = self._turn(queue, tasks)
        return limit.row["last_key"] if limit else None

    def note_last_key(self, queue: str, tasks: Sequence[str], key: str) -> None:
        limit = self._turn(queue, tasks)
        if limit is not None:
            limit.row["last_key"] = key
            self._changed[limit.row["id"]] = key

    def changed_keys(self) -> list[tuple[int, str]]:
        return list(self._changed.items())


def choose(limits: Limits, queue: str, waiting: Iterable[Held], after: str | None, most: int) -> list[Held]:
    """Take rows within the limits, one of each key in turn; within a key the most urgent, then the longest due.

    after: the key served last. The turn goes on from there, in the order of the keys, and round again.
    """
    by_key: dict[str, deque[Held]] = {}
    for row in sorted(waiting, key=lambda row: (-row.priority, row.run_at, row.id)):
        by_key.setdefault(row.key, deque()).append(row)
    turn = deque(sorted(by_key, key=lambda key: (after is not None and key <= after, key)))
    chosen: list[Held] = []
    while turn and len(chosen) < most:
        key = turn.popleft()
        rows = by_key[key]
        # A row whose own task has no room does not keep back the next of its key.
        while rows:
            row = rows.popleft()
            if limits.take(queue, row):
                chosen.append(row)
                turn.append(key)
                break
    return chosen
