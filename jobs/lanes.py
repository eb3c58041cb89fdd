"""Lanes: the worker pools, the queues that each serves, and what priorities a queue may hold."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Queue:
    """One queue. Priorities run from 0 to 9, 9 first; a job's priority is moved into the queue's band."""

    name: str
    purpose: str
    priority: int = 5
    band: tuple[int, int] = (0, 9)

    def clamp(self, priority: int | None) -> int:
        low, high = self.band
        return self.priority if priority is None else min(max(priority, low), high)


@dataclass(frozen=True)
class Lane:
    """One worker pool.

    children: processes. prefetch: whether messages are fetched ahead of a free child.
    recycle_after_jobs: a child is replaced after so many jobs; recycle_above_kib: or above so much memory.
    """

    name: str
    queues: tuple[Queue, ...]
    children: int
    prefetch: bool = True
    recycle_after_jobs: int | None = 10
    recycle_above_kib: int | None = None

    @property
    def queue_names(self) -> list[str]:
        return [queue.name for queue in self.queues]


LANES: dict[str, Lane] = {
    lane.name: lane
    for lane in (
        Lane(
            "fast_lane",
            (Queue("fast_lane", "reviews of normal pull requests, replies, issue enrichment"),),
            children=4,
            prefetch=False,
        ),
        Lane("slow_lane", (Queue("slow_lane", "reviews of large pull requests"),), children=1, prefetch=False),
        Lane("index_lane", (Queue("index_lane", "repository indexing"),), children=2, prefetch=False),
        Lane(
            "embedding",
            (
                Queue("embedding", "embed documents", priority=9, band=(8, 9)),
                Queue("indexing", "build the search index", priority=7, band=(6, 7)),
                Queue("maintenance", "clean up, statistics", priority=5, band=(0, 5)),
            ),
            children=os.cpu_count() or 1,
            recycle_after_jobs=None,
            recycle_above_kib=1_000_000,
        ),
        Lane("default", (Queue("default", "the scan for reminders, and the rest"),), children=2),
        # Apart, so that receivers who do not answer keep no scan waiting.
        Lane("deliveries", (Queue("deliveries", "mails and messages to people"),), children=4, prefetch=False),
    )
}

QUEUES: dict[str, Queue] = {queue.name: queue for lane in LANES.values() for queue in lane.queues}
DEFAULT_QUEUE = "default"
