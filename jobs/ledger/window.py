"""What may be sent ahead to a broker that keeps no order by priority: RabbitMQ's quorum queues are first in, first out.

There the order is kept in Postgres. Of each lane only so many messages are in the broker as its workers take until
somebody looks again; the next ones are picked by priority when there is room.
"""

import time
from dataclasses import dataclass
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

_ROOM = """
    SELECT (SELECT COALESCE(sum(w.children), 0) FROM jobs_worker AS w
            WHERE w.queues ?| %(queues)s AND w.stopped_at IS NULL
              AND w.heartbeat_at > now() - make_interval(secs => %(lease)s)) AS children,
           (SELECT count(*) FROM jobs_job
            WHERE state = 'queued' AND NOT held AND sent_at IS NOT NULL AND queue = ANY(%(queues)s)) AS ahead,
           (SELECT count(*) FROM jobs_job WHERE queue = ANY(%(queues)s) AND state = 'running') AS running,
           EXISTS (SELECT 1 FROM jobs_job
                   WHERE state = 'queued' AND NOT held AND sent_at IS NULL AND queue = ANY(%(queues)s)) AS is_owed
    FROM pg_try_advisory_xact_lock(%(lock)s) AS is_ours WHERE is_ours
"""

_NEXT = f"""
    SELECT {MESSAGE_COLUMNS}, {blocked("jobs_job")} AS is_blocked FROM jobs_job
    WHERE state = 'queued' AND sent_at IS NULL AND NOT held AND queue = ANY(%(queues)s)
    ORDER BY priority DESC, run_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
"""  # noqa: S608  (constants only)


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
        cursor.execute(_ROOM, values)
        found = cursor.fetchall()
        if not found:
            return None
        children, ahead, running, is_owed = found[0]
        room = self._room(int(children), ahead, running)
        if room < 1 or not is_owed:
            return [], is_owed and children > 0
        cursor.execute(_NEXT, {"queues": self.lane.queue_names, "limit": room})
        taken = rows(cursor)
        is_full = len(taken) == room
        # All that the last look sent is taken already, and there was more to send.
        self._adapt(is_starved=ahead == 0 and self.was_full)
        self.was_full = is_full
        return taken, is_full

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
