"""Makes running jobs stop that were asked to: first by their soft limit, then by killing their process.

The request is a column of the job's row, so it outlives restarts of workers and brokers. A thread of the worker's main
process looks for requests to the jobs that its children run, and decides by Postgres' clock; the main thread, which
alone gives work to children, checks that the child still runs that very job, and sends the signal.
"""

import logging
import os
import queue
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
from billiard.exceptions import SoftTimeLimitExceeded
from billiard.process import current_process
from celery import bootsteps
from celery.worker import state as worker_state
from django.conf import settings

from jobs.ledger.cancel import KILLED, SOFT, Asked, Mode, find_asked
from jobs.ledger.connection import AWAY, claims
from jobs.ledger.events import note
from jobs.ledger.run import current_run
from jobs.worker import processes
from jobs.worker.request import all_of

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
#: How often the main thread looks whether there is a signal to send.
CARRY_OUT_SECONDS = 0.5
ORPHANS_EVERY_LOOKS = 10
#: How long the main thread may take to see an order.
ANSWER_SECONDS = 10.0
#: Raises the soft limit of the job that a child runs. Not the pool's own signal, which means any job.
STOP_SIGNAL = signal.SIGUSR2


@dataclass
class Order:
    """A signal to send. request: Celery's, as it was when the decision was made. text: why.

    is_over: the main thread has seen it. is_withdrawn: it is not to be carried out any more. programs: how many were
    killed with the child; None if nothing was done.
    """

    kind: str
    asked: Asked
    request: Any
    text: str
    is_over: threading.Event = field(default_factory=threading.Event)
    is_withdrawn: bool = False
    programs: int | None = None


class CancelStep(bootsteps.StartStopStep):
    """Watches over running jobs that were asked to stop, until the worker's end, draining included."""

    requires = {"celery.worker.components:Pool", "celery.worker.components:Hub"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.watch = Watch(parent)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        if not self.watch.is_alive():
            self.watch.start()

    def register_with_event_loop(self, parent: Any, hub: Any) -> None:
        """Called at the start, and again whenever the broker was away."""
        if not hasattr(getattr(parent.pool, "_pool", None), "terminate_job"):
            return
        if self._timer is not None:
            self._timer.cancel()
        self.watch.can_signal = True
        self._timer = hub.call_repeatedly(CARRY_OUT_SECONDS, self.watch.carry_out)


class Watch(threading.Thread):
    def __init__(self, worker: Any) -> None:
        super().__init__(name="ledger-cancelling", daemon=True)
        self.worker = worker
        #: Pools without processes, such as threads, have nothing to signal: their jobs stop when they report.
        self.can_signal = False
        self.orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._soft: dict[str, float] = {}  # claim → how long it had been asked when its soft limit was raised

    def run(self) -> None:
        looks = 0
        while True:
            try:
                if looks % ORPHANS_EVERY_LOOKS == 0 and (ended := processes.end_orphans()):
                    logger.warning("%d programs of workers that had died were killed", ended)
                self.look()
            except AWAY as exc:
                logger.warning("Cancelling waits for Postgres: %s", str(exc).strip()[:200])
            except Exception:
                logger.exception("Running jobs could not be cancelled; trying again")
            looks += 1
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Look once. Costs nothing while nothing runs."""
        requests = {request.id: request for request in all_of(worker_state.active_requests) if request.worker_pid}
        if not requests or not self.can_signal:
            self._soft.clear()
            return
        asked = claims().use(lambda connection: self._find(connection, list(requests)))
        self._soft = {found.claim_id: self._soft[found.claim_id] for found in asked if found.claim_id in self._soft}
        for found in asked:
            order = self._decide(found, requests[found.id])
            if order is not None:
                self._give(order)

    def carry_out(self) -> None:
        """Send the signals that were decided on. In the main thread, so that no child is given work meanwhile."""
        while True:
            try:
                order = self.orders.get_nowait()
            except queue.Empty:
                return
            request = order.request
            is_meant = request in worker_state.active_requests and request.worker_pid == order.asked.pid
            if is_meant and not order.is_withdrawn:
                self._signal(order)
            order.is_over.set()

    def _find(self, connection: psycopg.Connection[Any], job_ids: list[str]) -> list[Asked]:
        with connection.cursor() as cursor:
            return find_asked(cursor, job_ids, str(self.worker.hostname))

    def _decide(self, asked: Asked, request: Any) -> Order | None:
        if asked.mode == Mode.ASKED or request.worker_pid != asked.pid:
            return None
        soft, kill = settings.JOBS["CANCEL_SOFT_SECONDS"], settings.JOBS["CANCEL_KILL_SECONDS"]
        soft_at = self._soft.get(asked.claim_id)
        if asked.mode == Mode.FORCED:
            return Order(KILLED, asked, request, "its process was killed at once, as was asked for")
        if soft_at is None:
            if asked.waited_seconds < soft:
                return None
            return Order(SOFT, asked, request, f"it did not stop within {soft} s of being asked")
        if asked.waited_seconds < soft_at + kill:
            return None
        text = f"it did not stop within {kill} s of its soft limit, so its process was killed"
        return Order(KILLED, asked, request, text)

    def _give(self, order: Order) -> None:
        """Have the main thread send a signal, and note it among the job's events."""
        self.orders.put(order)
        if not order.is_over.wait(ANSWER_SECONDS):
            # The main thread is busy, or waits for the broker. The next look decides anew: else it would find an order
            # of each look, and raise a soft limit again and again in a job that brings away what it has.
            order.is_withdrawn = True
        if order.programs is None:
            return
        asked = order.asked
        if order.kind == SOFT:
            self._soft[asked.claim_id] = asked.waited_seconds
            text = f"Its soft limit was raised: {order.text}."
        else:
            text = f"Its process {asked.pid} and {order.programs} programs started by it were killed: {order.text}."
        logger.warning("Job %s is cancelled: %s", asked.id, text)
        claims().use(lambda connection: _note(connection, order, text))

    def _signal(self, order: Order) -> None:
        pid = order.asked.pid
        child = self._child(pid)
        if child is None:
            return
        order.programs = 0
        if order.kind == SOFT:
            os.kill(pid, STOP_SIGNAL)
            return
        # What the result backend is told by the pool once the child is gone.
        order.request._context.stopped_how = order.text
        child._controlled_termination = child._job_terminated = True
        order.programs = processes.end_child(pid)

    def _child(self, pid: int) -> Any:
        children = getattr(getattr(self.worker.pool, "_pool", None), "_pool", ())
        return next((child for child in children if child.pid == pid and child.exitcode is None), None)


def _note(connection: psycopg.Connection[Any], order: Order, text: str) -> None:
    with connection.cursor() as cursor:
        note(cursor, order.asked.id, order.kind, text, pid=order.asked.pid, programs=order.programs)


def prepare_child() -> None:
    """Called in each child of a pool, at its start."""
    if current_process().name == "MainProcess":
        return  # a pool without processes of its own
    processes.lead_family()
    signal.signal(STOP_SIGNAL, _raise_soft_limit)


def _raise_soft_limit(*_: Any) -> None:
    """Make the running job's body stop, and nothing else: it may have ended while the signal was under way."""
    run = current_run()
    if run is None or run.body_done:
        return
    run.told_to_stop = True
    raise SoftTimeLimitExceeded("an operator asked the job to stop")
