"""Celery as it comes, results ignored: what the ledger is measured against. Nothing is recorded."""

import os
import time

from celery import Celery

# Not the current one: whoever measures has an app of its own.
app = Celery("plain", broker=os.environ.get("BROKER_URL"), set_as_current=False)
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True

MARKS = "bench-marks"


@app.task
def no_op(value: None = None) -> None:
    """Do nothing."""


@app.task
def mark() -> None:
    """Note the time."""
    moment = time.time()
    with app.pool.acquire(block=True) as connection:
        connection.default_channel.client.rpush(MARKS, repr(moment))
