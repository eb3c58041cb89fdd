"""What may be sent ahead to a broker that keeps no order by priority: RabbitMQ's quorum queues are first in, first out.

There the order is kept in Postgres. Of each lane only so many messages are in the broker as its workers take until
somebody looks again; the next ones are picked by priority when there is room. Queues that different workers take do
not wait for each other, and those that no live worker takes are left out.
"""

import json
import time
from dataclasses import dataclass, field
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
        SELECT children, ARRAY(SELECT element.name FROM jsonb_array_elements_text(queues) AS element (name)
                               WHERE element.name = ANY(%(queues)s) ORDER BY element.name) AS taken
        FROM jobs_worker
        WHERE queues ?| %(queues)s AND stopped_at IS NULL AND heartbeat_at > now() - make_interval(secs => %(lease)s)),
    together AS (SELECT taken, sum(children) AS children FROM serving GROUP BY taken),
    ahead AS (
        SELECT queue, count(*) AS messages, max(priority) AS highest FROM jobs_job
        WHERE state = 'queued' AND NOT held AND sent_at IS NOT NULL AND queue = ANY(%(queues)s)
        GROUP BY queue)
    SELECT (SELECT COALESCE(json_agg(json_build_array(taken, children) ORDER BY taken), '[]') FROM together)::text
               AS groups,
           (SELECT count(*) FROM jobs_job WHERE queue = ANY(%(queues)s) AND state = 'running') AS running,
           (SELECT COALESCE(json_object_agg(queue, json_build_array(messages, highest)), '{}') FROM ahead)::text
               AS ahead,
           ARRAY(SELECT asked.name FROM unnest(%(queues)s::text[]) AS asked (name)
                 WHERE EXISTS (SELECT 1 FROM jobs_job
                               WHERE state = 'queued' AND NOT held AND sent_at IS NULL AND queue = asked.name)) AS owed
    FROM pg_try_advisory_xact_lock(%(lock)s) AS is_ours WHERE is_ours
"""

_NEXT = f"""
    SELECT {MESSAGE_COLUMNS}, {blocked("jobs_job")} AS is_blocked FROM jobs_job
    WHERE state = 'queued' AND sent_at IS NULL AND NOT held AND queue = ANY(%(queues)s)
      AND id <> ALL(%(taken)s)
    ORDER BY priority DESC, run_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
"""  # noqa: S608  (constants only)


@dataclass
class Look:
    """At one lane. groups: queues that the same workers take, and how many children those workers have.

    ahead: by queue, how many messages are in the broker or wait in a worker, and the highest priority of them.
    owed: queues with unsent jobs. taken: ids of those that go now.
    """

    groups: list[tuple[list[str], int]]
    running: int
    ahead: dict[str, tuple[int, int]]
    owed: list[str]
    taken: list[str] = field(default_factory=list)

    def note(self, taken: list[dict[str, Any]]) -> None:
        """These are ahead from now on."""
        for row in taken:
            self.taken.append(row["id"])
            count, highest = self.ahead.get(row["queue"], (0, row["priority"]))
            self.ahead[row["queue"]] = count + 1, max(highest, row["priority"])


@dataclass
class Window:
    """One process' view of the queues that some workers of a lane take: nearly always of all queues of the lane.

    ahead: messages for each child of these workers.
    """

    lane: Lane
    queues: list[str]
    ahead: int = LEAST_AHEAD
    was_full: bool = False

    def take(self, cursor: Cursor, look: Look, children: int) -> tuple[list[dict[str, Any]], bool]:
        """Lock the rows whose turn it is. Also returns whether more wait for room."""
        ahead = sum(look.ahead[queue][0] for queue in self.queues if queue in look.ahead)
        is_owed = not set(self.queues).isdisjoint(look.owed)
        room = self._room(children, ahead, look.running)
        if room < 1 or not is_owed:
            return [], is_owed
        cursor.execute(_NEXT, {"queues": self.queues, "taken": look.taken, "limit": room})
        owed = rows(cursor)
        taken = self._of_one_queue(owed, look)
        # All that the last look sent is taken already, and there was more to send.
        self._adapt(is_starved=ahead == 0 and self.was_full)
        self.was_full = len(taken) == room
        return taken, self.was_full or len(taken) < len(owed)

    def _room(self, children: int, ahead: int, running: int) -> int:
        if not self.lane.prefetch:
            # A message for a child that is busy for long would keep it from another that is free.
            return children - running - ahead
        return self.ahead * children - ahead

    def _of_one_queue(self, owed: list[dict[str, Any]], look: Look) -> list[dict[str, Any]]:
        """Those that may go now, of rows in their order.

        Workers fetch each queue by itself, so that of messages in two queues either may come first: what is in another
        queue waits until the more urgent are with a child.
        """
        if not owed:
            return []
        queue = owed[0]["queue"]
        others = [look.ahead[name][1] for name in self.queues if name in look.ahead and name != queue]
        elsewhere = max(others, default=-1)
        return list(takewhile(lambda row: row["queue"] == queue and row["priority"] > elsewhere, owed))

    def _adapt(self, *, is_starved: bool) -> None:
        grown = self.ahead * 2 if is_starved else self.ahead - 1
        self.ahead = min(max(grown, LEAST_AHEAD), MOST_AHEAD)


class Windows:
    """All lanes, as one process sees them."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, ...], Window] = {}
        #: When to look again; None when nothing waits for room.
        self.pause: float | None = None
        #: Whether another process was at it, who may have looked a moment too early.
        self.was_busy = False

    def take(self, cursor: Cursor) -> list[dict[str, Any]]:
        """Lock the rows of all lanes whose turn it is, as columns of a message and `is_blocked`.

        In a transaction of the caller's, who then sends them and notes it.
        """
        began = time.monotonic()
        taken: list[dict[str, Any]] = []
        is_more = self.was_busy = False
        for number, lane in enumerate(LANES.values()):
            look = _look(cursor, lane, number)
            if look is None:
                self.was_busy = True
                continue
            for queues, children in look.groups:
                window = self._windows.setdefault(tuple(queues), Window(lane, queues))
                found, more = window.take(cursor, look, children)
                look.note(found)
                taken += found
                is_more |= more
        took = time.monotonic() - began
        self.pause = max(SHORTEST_PAUSE_SECONDS, took / SHARE) if is_more else None
        return taken


def _look(cursor: Cursor, lane: Lane, number: int) -> Look | None:
    """None while another process looks at the lane."""
    cursor.execute(_LOOK, {"queues": lane.queue_names, "lease": LEASE_SECONDS, "lock": LOCK + number})
    found = rows(cursor)
    if not found:
        return None
    groups, ahead = json.loads(found[0]["groups"]), json.loads(found[0]["ahead"])
    return Look(
        groups=[(queues, int(children)) for queues, children in groups],
        running=found[0]["running"],
        ahead={queue: (count, highest) for queue, (count, highest) in ahead.items()},
        owed=found[0]["owed"],
    )
