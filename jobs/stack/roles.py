"""What Celery's processes do here: a worker for a lane, and beat."""

import gc
import warnings
from typing import Any

from celery import current_app, signals
from celery.platforms import SecurityWarning
from django.conf import settings

from jobs.lanes import Lane
from jobs.stack.names import node_name
from jobs.stack.program import Tell


def work(lane: Lane, tell: Tell) -> int:
    """Run the worker of one lane until SIGTERM, which lets running jobs end first. Returns its exit code."""
    app = current_app._get_current_object()
    _keep_log_settings()
    # Jobs are JSON only: the warning that root runs pickles does not apply.
    warnings.simplefilter("ignore", SecurityWarning)
    app.conf.worker_disable_prefetch = not lane.prefetch
    if not lane.prefetch:
        app.conf.worker_prefetch_multiplier = 1
    signals.worker_ready.connect(lambda **_: tell("ready"), weak=False)
    # Just before the pool's children are forked: what they never change stays shared.
    signals.celeryd_after_setup.connect(lambda **_: freeze(), weak=False)
    worker = app.Worker(
        hostname=node_name(lane.name),
        queues=lane.queue_names,
        concurrency=lane.children,
        pool_cls="prefork",
        max_tasks_per_child=lane.recycle_after_jobs,
        max_memory_per_child=lane.recycle_above_kib,
        loglevel=settings.LOG_LEVEL,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        optimization="fair",
    )
    worker.start()
    return int(worker.exitcode or 0)


def beat(tell: Tell) -> int:
    """Run the scheduler until SIGTERM. Any number may run."""
    app = current_app._get_current_object()
    _keep_log_settings()
    signals.beat_init.connect(lambda **_: tell("ready"), weak=False)
    app.Beat(loglevel=settings.LOG_LEVEL, quiet=True).run()
    return 0


def preload() -> None:
    """Load, once for all children, what they need, without a thread or a connection."""
    from django.urls import get_resolver
    from django.utils.module_loading import import_string

    app: Any = current_app._get_current_object()
    app.loader.import_default_modules()
    app.finalize()
    for name in (
        "celery.apps.worker",
        "celery.apps.beat",
        "celery.concurrency.prefork",
        "kombu.transport.redis",
        "gunicorn.workers.gthread",
    ):
        __import__(name)
    _ = get_resolver().url_patterns
    # Not the WSGI application itself: it lists the static files, which may not be there yet.
    for name in (*settings.MIDDLEWARE, settings.CELERY_RESULT_BACKEND, settings.CELERY_BEAT_SCHEDULER):
        import_string(name.replace(":", "."))


def freeze() -> None:
    """Take what is loaded out of garbage collection, which would write to its memory pages and so copy them."""
    gc.collect()
    gc.freeze()


def _keep_log_settings() -> None:
    """Celery shall not set up a log of its own beside Django's."""
    signals.setup_logging.connect(lambda **_: None, weak=False)
