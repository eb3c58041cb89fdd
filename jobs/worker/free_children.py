"""Takes messages from RabbitMQ for free children only.

Of a lane with long jobs, a message that was fetched ahead of a free child would keep its job from another worker that
has one. Celery can hold messages off on Redis alone; on RabbitMQ the consumer is cancelled while every child is busy.
"""

from typing import Any

from celery.worker import state as worker_state


class FreeChildrenOnly:
    """For one consumer, whose prefetch count is one: the next message comes when a child has accepted the last."""

    def __init__(self, consumer: Any) -> None:
        self.consumer = consumer
        self.is_paused = False
        self._handle = consumer.on_task_request
        consumer.on_task_request = self.on_task_request
        consumer.initial_prefetch_count = 1

    def begin(self) -> None:
        """A connection is open, and takes messages."""
        self.is_paused = False
        self.consumer.hub.on_tick.add(self.on_tick)

    def on_task_request(self, request: Any) -> None:
        if self._is_busy():
            # Before this message is acknowledged, so no other is on its way.
            self.is_paused = True
            self.consumer.task_consumer.cancel()
        self._handle(request)

    def on_tick(self) -> None:
        """Called at each turn of the event loop."""
        if self.is_paused and not self._is_busy() and self.consumer.task_consumer is not None:
            self.is_paused = False
            self.consumer.task_consumer.consume()

    def _is_busy(self) -> bool:
        return len(worker_state.reserved_requests) >= self.consumer.pool.num_processes
