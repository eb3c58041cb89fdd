"""The Celery app class: lanes as queues, the ledger as message layer, task class and backend."""

from importlib import import_module
from typing import Any

from celery import Celery, signals
from django.conf import settings

from jobs.lanes import DEFAULT_QUEUE
from jobs.ledger import broker
from jobs.ledger.canvas import send_whole
from jobs.worker import transport

# By name: they load with a worker, after Django's apps.
BOOTSTEPS = (
    *(f"jobs.worker.bootsteps:{name}Step" for name in ("Dispatcher", "Heartbeat", "Drain", "Recycling")),
    "jobs.worker.cancelling:CancelStep",
)


class LedgerCelery(Celery):
    """Celery with the ledger in front of the broker and behind every run."""

    amqp_cls = "jobs.ledger.door:LedgerAMQP"
    task_cls = "jobs.worker.task:LedgerTask"
    control_cls = "jobs.worker.control:LedgerControl"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_after_configure.connect(_apply_defaults)
        self.steps["worker"].update(BOOTSTEPS)
        send_whole()
        transport.install()

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's, except that a folded job's result is its holder's."""
        from jobs.ledger.door import holder_of

        result = super().send_task(*args, **kwargs)
        holder = holder_of(result.id)
        if holder == result.id:
            return result
        held = self.AsyncResult(holder)
        held.folded = True
        return held


def _apply_defaults(sender: Celery, source: Any, **_: Any) -> None:
    conf = sender.conf
    conf.task_routes = ("jobs.registry:route",)
    conf.task_default_queue = DEFAULT_QUEUE
    conf.task_default_exchange = ""
    conf.worker_consumer = "jobs.worker.consumer:LedgerConsumer"
    broker.configure(conf)
    # Keep Django's connection between tasks; LedgerTask closes an old or broken one before it is used.
    conf["CELERY_DB_REUSE_MAX"] = 1_000_000_000


@signals.worker_init.connect
def _on_start(**_: Any) -> None:
    """Load what jobs make links by, once for all children."""
    import_module(settings.ROOT_URLCONF)


@signals.worker_process_init.connect
def _on_child_start(**_: Any) -> None:
    from jobs.worker.cancelling import prepare_child

    prepare_child()


@signals.worker_process_shutdown.connect
def _on_child_exit(**_: Any) -> None:
    """A child that is recycled or stopped writes its last finishes and sends before it goes."""
    from jobs.ledger import flusher, publisher

    flusher.drain()
    publisher.drain()
