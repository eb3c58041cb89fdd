"""What may be sent ahead to a broker that keeps no order by priority: RabbitMQ's quorum queues are first in, first out.

There the order is kept in Postgres. Of each lane only so many messages are in the broker as its workers take until
somebody looks again; the next ones are picked by priority when there is room. Queues that no live worker takes are left
out, as their messages would stand in the way of the others'.
"""

import json
import time
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from jobs.lanes import LANES, Lane
from jobs.ledger.lease import LEASE_SECONDS
from jobs.ledger.limits import blocked
from jobs.ledger.records import MESSAGE_COLUMNS
from jobs.ledger.states import Cursor, rows

#: For each child of a lane's live workers, the message that it runs next and one more.
LEAST_AHEAD = 2
#: Short jobs would wait for the next look: a lane that is found empty may have more ahead, up to this.
MOST_AHEAD = 64
#: Looking may take this share of a process' time while there is a backlog.
SHARE = 0.2
SHORTEST_PAUSE_SECONDS = 0.02
LOCK = 7_301_000

_LOOK = """
    WITH serving AS (
        SELECT queues, children FROM jobs_worker
        WHERE queues ?| %(queues)s AND stopped_at IS NULL AND heartbeat_at > now() - make_interval(secs => %(lease)s)),
    served AS (
        SELECT COALESCE(array_agg(DISTINCT name), '{}') AS names
        FROM serving, jsonb_array_elements_text(queues) AS name WHERE name = ANY(%(queues)s)),
    ahead AS (
        SELECT queue, count(*) AS messages, max(priority) AS highest FROM jobs_job, served
        WHERE state = 'queued' AND NOT held AND sent_at IS NOT NULL AND queue = ANY(names)
        GROUP BY queue)
    SELECT (SELECT COALESCE(sum(children), 0) FROM serving)::int AS children,
           (SELECT names FROM served) AS queues,
           (SELECT count(*) FROM jobs_job WHERE queue = ANY(%(queues)s) AND state = 'running') AS running,
           (SELECT COALESCE(sum(messages), 0) FROM ahead)::int AS ahead,
           (SELECT COALESCE(json_object_agg(queue, highest), '{}')::text FROM ahead) AS highest,
           EXISTS (SELECT 1 FROM jobs_job, served
                   WHERE state = 'queued' AND NOT held AND sent_at IS NULL AND queue = ANY(names)) AS is_owed
    FROM pg_try_advisory_xact_lock(%(lock)s) AS is_ours WHERE is_ours
"""

_NEXT = f"""
    SELECT {MESSAGE_COLUMNS}, {blocked("jobs_job")} AS is_blocked FROM jobs_job
    WHERE state = 'queued' AND sent_at IS NULL AND NOT held AND queue = ANY(%(queues)s)
    ORDER BY priority DESC, run_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
"""  # noqa: S608  (constants only)


def _of_one_queue(owed: list[dict[str, Any]], highest: dict[str, int]) -> list[dict[str, Any]]:
    """Those that may go now, of rows in their order. highest: by queue, the priority of what is ahead in it.

    Each queue is fetched by itself, so that of messages in two queues either may come first: what is in another queue
    waits until the more urgent are with a child.
    """
    if not owed:
        return []
    queue = owed[0]["queue"]
    elsewhere = max((priority for name, priority in highest.items() if name != queue), default=-1)
    return list(takewhile(lambda row: row["queue"] == queue and row["priority"] > elsewhere, owed))


@dataclass
class Window:
    """One process' view of one lane. ahead: messages for each child of the lane's live workers."""

    lane: Lane
    number: int
    ahead: int = LEAST_AHEAD
    was_full: bool = False

    def take(self, cursor: Cursor) -> tuple[list[dict[str, Any]], bool] | None:
        """Lock the rows whose turn it is. In a transaction of the caller's, who then sends them and notes it.

        Also returns whether more wait for room. None while another process does the same.
        """
        values = {"queues": self.lane.queue_names, "lease": LEASE_SECONDS, "lock": LOCK + self.number}
        cursor.execute(_LOOK, values)
        found = rows(cursor)
        if not found:
            return None
        look = found[0]
        room = self._room(look["children"], look["ahead"], look["running"])
        if room < 1 or not look["is_owed"]:
            return [], look["is_owed"]
        cursor.execute(_NEXT, {"queues": look["queues"], "limit": room})
        owed = rows(cursor)
        taken = _of_one_queue(owed, json.loads(look["highest"]))
        # All that the last look sent is taken already, and there was more to send.
        self._adapt(is_starved=look["ahead"] == 0 and self.was_full)
        self.was_full = len(taken) == room
        return taken, self.was_full or len(taken) < len(owed)

    def _room(self, children: int, ahead: int, running: int) -> int:
        if not self.lane.prefetch:
            # A message for a child that is busy for long would keep it from another that is free.
            return children - running - ahead
        return self.ahead * children - ahead

    def _adapt(self, *, is_starved: bool) -> None:
        grown = self.ahead * 2 if is_starved else self.ahead - 1
        self.ahead = min(max(grown, LEAST_AHEAD), MOST_AHEAD)


class Windows:
    """All lanes, as one process sees them."""

    def __init__(self) -> None:
        self._lanes = [Window(lane, number) for number, lane in enumerate(LANES.values())]
        #: When to look again; None when nothing waits for room.
        self.pause: float | None = None
        #: Whether another process was at it, who may have looked a moment too early.
        self.was_busy = False

    def take(self, cursor: Cursor) -> list[dict[str, Any]]:
        """Lock the rows of all lanes whose turn it is, as columns of a message and `is_blocked`."""
        began = time.monotonic()
        taken: list[dict[str, Any]] = []
        is_more = self.was_busy = False
        for window in self._lanes:
            answer = window.take(cursor)
            if answer is None:
                self.was_busy = True
            else:
                taken += answer[0]
                is_more |= answer[1]
        took = time.monotonic() - began
        self.pause = max(SHORTEST_PAUSE_SECONDS, took / SHARE) if is_more else None
        return taken
